r"""Fit what a network has to beat on one dataset: the most frequent class, a thumbnail, the frame, the metadata.

Reads images.npy and split.csv, the test images and test.csv, and index.csv; writes one table of test predictions per
probe, in the format of predictions.csv, and probes.json with their scores.

    python scripts/probe.py --images images.npy --split split.csv --test-images test/images.npy --test test.csv \
        --index index.csv --size-px 256 --settings '{"bootstrap_resamples": 2000}' --folder probes/covid
"""

from pathlib import Path

import cv2

from cxrflow.config.probes import PROBES
from cxrflow.config.settings import ScoreSettings
from cxrflow.config.stages import OutputFolder, run_stage
from cxrflow.files.atomic import sha256_bytes, sha256_file, write_json
from cxrflow.files.code_hash import code_hash
from cxrflow.files.records import IndexRow, write_predictions
from cxrflow.files.tables import read_records
from cxrflow.models.batches import open_split_images, open_test_rows
from cxrflow.results.probes import fit_probe
from cxrflow.results.scoring import format_interval, score_predictions


def probe_dataset(
    *,
    images: Path,
    split: Path,
    test_images: Path,
    test: Path,
    index: Path,
    size_px: int,
    settings: ScoreSettings,
    folder: OutputFolder,
) -> None:
    """Fit every probe on the train rows and score it on the test rows.

    images: images.npy of the study's preprocessing
    split: split.csv of the dataset
    test_images: images.npy of the test images, of the same preprocessing
    test: test.csv of the dataset
    index: index.csv of the dataset
    size_px: side of the images, pixels
    settings: how the intervals are resampled, as JSON.
    folder: where to write <probe>.csv and probes.json
    """
    cv2.setNumThreads(1)
    data = open_split_images(images, split, size_px)
    decided = sha256_bytes(f"{code_hash('probe')} {sha256_file(split)}".encode())
    tested = open_test_rows(test_images, test, size_px, opener="probe", opener_sha256=decided)
    rows = {row.image_id: row for row in read_records(index, IndexRow)}
    scores = {}
    for name, probe in PROBES.items():
        predictions = fit_probe(name, data, tested, rows)
        write_predictions(folder / f"{name}.csv", predictions)
        scores[name] = score_predictions(predictions, settings.bootstrap_resamples, settings.bootstrap_seed)
        print(f"{probe.title}: macro F1 {format_interval(scores[name]['macro_f1'])}")
    write_json(folder / "probes.json", scores)


if __name__ == "__main__":
    run_stage(probe_dataset)
