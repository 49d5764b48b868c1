r"""Let a trained model see the test images: the only door to them.

Reads images.npy, split.csv and model.pt (checked against model.pt.sha256); writes features.npy, float32
(n, n_features), and predictions.csv, row by row the same test images in index order.

    python scripts/evaluate.py --images images.npy --split split.csv --model model.pt --settings '{"batch_size": 64}' \
        --threads 2 --features features.npy --predictions predictions.csv
"""

from pathlib import Path

from cxrflow.config.settings import EvaluateSettings
from cxrflow.config.stages import run_stage
from cxrflow.files.atomic import write_array
from cxrflow.files.records import write_predictions
from cxrflow.models.checkpoints import load_model, restore_network
from cxrflow.models.devices import choose_device, describe_device, prepare_process
from cxrflow.models.inference import predict
from cxrflow.models.outcome import check_classes, join_predictions
from cxrflow.models.subsets import open_split_images


def evaluate_model(
    *,
    images: Path,
    split: Path,
    model: Path,
    settings: EvaluateSettings,
    device: str = "auto",
    threads: int,
    features: Path,
    predictions: Path,
) -> None:
    """Write the probabilities and the features of every test image.

    images: images.npy of the model's preprocessing
    split: split.csv of the dataset
    model: model.pt; its checksum lies beside it
    settings: the batch size, as JSON.
    device: auto (a GPU if there is one), cpu or cuda
    threads: CPU threads
    features: features.npy to write
    predictions: predictions.csv to write, last
    """
    prepare_process(threads)
    found = choose_device(device)
    saved = load_model(model)
    data = open_split_images(images, split, saved.preprocess.size_px)
    check_classes(saved, data, model)
    probabilities, vectors = predict(
        restore_network(saved),
        saved.backbone,
        data.images,
        data.rows["test"],
        device=found,
        batch_size=settings.batch_size,
    )
    write_array(features, vectors)
    write_predictions(predictions, join_predictions(data, probabilities))
    print(f"{len(probabilities)} test images through {model} on {describe_device(found)}, epoch {saved.epoch}")


if __name__ == "__main__":
    run_stage(evaluate_model)
