r"""Let a trained model predict the validation images and, by the only door to them, the test images.

Reads images.npy, split.csv and model.pt (checked against model.pt.sha256); writes val_predictions.csv, features.npy,
float32 (n, n_features), and predictions.csv, the last two row by row the same test images in index order.

    python scripts/evaluate.py --images images.npy --split split.csv --model model.pt --settings '{"batch_size": 64}' \
        --threads 2 --val-predictions val_predictions.csv --features features.npy --predictions predictions.csv
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrflow.config.settings import EvaluateSettings
from cxrflow.config.stages import run_stage
from cxrflow.files.atomic import write_array
from cxrflow.files.records import Predictions, write_predictions
from cxrflow.models.checkpoints import load_model, restore_network
from cxrflow.models.devices import choose_device, describe_device, prepare_process
from cxrflow.models.inference import predict
from cxrflow.models.outcome import check_classes, join_predictions
from cxrflow.models.subsets import SplitImages, open_split_images, open_test_rows


def evaluate_model(
    *,
    images: Path,
    split: Path,
    model: Path,
    settings: EvaluateSettings,
    device: str = "auto",
    threads: int,
    val_predictions: Path,
    features: Path,
    predictions: Path,
) -> None:
    """Write the probabilities of every validation and test image, and the features of the test images.

    images: images.npy of the model's preprocessing
    split: split.csv of the dataset
    model: model.pt; its checksum lies beside it
    settings: the batch size, as JSON.
    device: auto (a GPU if there is one), cpu or cuda
    threads: CPU threads
    val_predictions: val_predictions.csv to write
    features: features.npy to write
    predictions: predictions.csv to write, last
    """
    prepare_process(threads)
    found = choose_device(device)
    saved = load_model(model)
    network, size_px = restore_network(saved), saved.preprocess.size_px

    def predict_subset(data: SplitImages, subset: str) -> tuple[Predictions, NDArray[np.float32]]:
        check_classes(saved, data, model)
        probabilities, vectors = predict(
            network, saved.backbone, data.images, data.rows[subset], device=found, batch_size=settings.batch_size
        )
        return join_predictions(data, subset, probabilities), vectors

    validated, _ = predict_subset(open_split_images(images, split, size_px), "val")
    tested, vectors = predict_subset(open_test_rows(images, split, size_px), "test")
    write_predictions(val_predictions, validated)
    write_array(features, vectors)
    write_predictions(predictions, tested)
    print(f"{len(validated.labels)} validation and {len(tested.labels)} test images through {model}", end=" ")
    print(f"on {describe_device(found)}, epoch {saved.epoch}")


if __name__ == "__main__":
    run_stage(evaluate_model)
