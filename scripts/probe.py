r"""Fit what a network has to beat on one dataset, and what must not tell its classes: frame, metadata, file, no lungs.

Reads images.npy and split.csv, the test images and test.csv, index.csv, regions.csv and the lung masks that it names,
lungs.csv and lungs.json for images without masks;
writes one table of test predictions per probe, in the format of predictions.csv, and probes.json with their scores. Of
a probe that this dataset does not allow the table is empty, and probes.json says why.

    python scripts/probe.py --images images.npy --split split.csv --test-images test/images.npy --test test.csv \
        --index index.csv --regions regions.csv --masks data/covid --dataset covid \
        --lungs lungs.csv --lungs-scores lungs.json --size-px 256 --threads 2 \
        --settings '{"bootstrap_resamples": 2000}' --folder probes/covid
"""

from pathlib import Path
from typing import Any

import cv2

from cxrflow.config.probes import PROBES
from cxrflow.config.settings import ScoreSettings
from cxrflow.config.stages import OutputFolder, run_stage
from cxrflow.files.atomic import read_json, sha256_bytes, sha256_file, write_json, write_text
from cxrflow.files.code_hash import code_hash
from cxrflow.files.records import IndexRow, LungsRow, RegionRow, write_predictions
from cxrflow.files.tables import read_records
from cxrflow.models.batches import open_split_images, open_test_rows
from cxrflow.results.probes import LUNG_PROBES, choose_lungs, explain_absence, fit_probe, read_lungs
from cxrflow.results.scoring import format_interval, score_predictions


def probe_dataset(
    *,
    images: Path,
    split: Path,
    test_images: Path,
    test: Path,
    index: Path,
    regions: Path,
    masks: Path,
    dataset: str,
    lungs: Path,
    lungs_scores: Path,
    size_px: int,
    threads: int,
    settings: ScoreSettings,
    folder: OutputFolder,
) -> None:
    """Fit every probe on the train rows and score it on the test rows.

    images: images.npy of the study's preprocessing
    split: split.csv of the dataset
    test_images: images.npy of the test images, of the same preprocessing
    test: test.csv of the dataset
    index: index.csv of the dataset
    regions: regions.csv of the dataset
    masks: the dataset's folder, which the paths of masks are relative to
    dataset: its name
    lungs: lungs.csv of the study, where a network found the lungs
    lungs_scores: lungs.json, how well it does
    size_px: side of the images, pixels
    threads: that read masks
    settings: how the intervals are resampled, as JSON.
    folder: where to write <probe>.csv and probes.json
    """
    cv2.setNumThreads(1)
    data = open_split_images(images, split, size_px)
    decided = sha256_bytes(f"{code_hash('probe')} {sha256_file(split)}".encode())
    tested = open_test_rows(test_images, test, size_px, opener="probe", opener_sha256=decided)
    rows = {row.image_id: row for row in read_records(index, IndexRow)}
    shipped = read_lungs(list(rows.values()), read_records(regions, RegionRow), masks, threads)
    found = [row for row in read_records(lungs, LungsRow) if row.dataset == dataset]
    seen, source, no_lungs = choose_lungs(list(rows.values()), shipped, found, read_json(lungs_scores))
    scores: dict[str, dict[str, Any]] = {}
    for name, probe in PROBES.items():
        if absence := explain_absence(name, rows.values(), no_lungs):
            write_text(folder / f"{name}.csv", "")
            scores[name] = {"absent": absence}
            print(f"{probe.title}: not run, {absence}")
            continue
        predictions = fit_probe(name, data, tested, rows, seen)
        write_predictions(folder / f"{name}.csv", predictions)
        scores[name] = score_predictions(predictions, settings.bootstrap_resamples, settings.bootstrap_seed)
        scores[name] |= {"lungs": source} if source and name in LUNG_PROBES else {}
        print(f"{probe.title}: macro F1 {format_interval(scores[name]['macro_f1'])}")
    write_json(folder / "probes.json", scores)


if __name__ == "__main__":
    run_stage(probe_dataset)
