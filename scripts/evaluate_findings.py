r"""Predict the test images with one model of findings, of which an image may have several, by the only door to them.

Reads the test images and test.csv, and model.pt (checked against model.pt.sha256); writes predictions.csv.

    python scripts/evaluate_findings.py --test-images test/images.npy --test test.csv --model model.pt \
        --settings '{"batch_size": 64}' --threads 2 --predictions predictions.csv
"""

from pathlib import Path

from cxrflow.config.layout import ModelId
from cxrflow.config.settings import EvaluateSettings
from cxrflow.config.stages import Output, run_stage
from cxrflow.files.atomic import sha256_file
from cxrflow.models.batches import open_source, open_test_rows
from cxrflow.models.checkpoints import load_model, restore_network
from cxrflow.models.devices import choose_device, describe_device, prepare_process
from cxrflow.models.inference import check_classes, predict_logits
from cxrflow.results.findings import FindingPredictions, write_findings


def evaluate_findings(
    *,
    test_images: Path,
    test: Path,
    model: Path,
    settings: EvaluateSettings,
    device: str = "auto",
    threads: int,
    predictions: Output,
) -> None:
    """Write the probability of every finding, its sigmoid, for every test image.

    test_images: images.npy of the test images, of the model's preprocessing
    test: test.csv of the dataset
    model: model.pt; its checksum lies next to it
    settings: the batch size, as JSON.
    device: auto (a GPU if there is one), cpu or cuda
    threads: CPU threads
    predictions: predictions.csv to write
    """
    prepare_process(threads)
    saved, found = load_model(model), choose_device(device)
    network = restore_network(saved, findings=True).to(found)
    opener = ModelId(saved.dataset, saved.backbone, saved.init, saved.variant, saved.seed).path
    size_px = saved.preprocess.size_px
    data = open_test_rows(test_images, test, size_px, opener=opener, opener_sha256=sha256_file(model))
    check_classes(saved, data, model)
    source = open_source(data.images, data.rows["test"], found)
    logits = predict_logits(network, source, len(data.rows["test"]), settings.batch_size)
    present, names = data.labels_of("test").astype(bool), data.class_names
    outcomes = FindingPredictions(data.image_ids, data.patient_ids, present, logits.sigmoid().numpy(), names)
    write_findings(predictions, outcomes)
    print(f"{len(present)} test images through {model} on {describe_device(found)}, epoch {saved.epoch}")


if __name__ == "__main__":
    run_stage(evaluate_findings)
