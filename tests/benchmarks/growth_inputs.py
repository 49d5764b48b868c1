"""Inputs of any size for the stages whose growth is measured: invented rows, and images of 16 px with no X-ray in them.

The keys are as in ChestX-ray8: 3.64 images a patient on average, a few with very many, and some images twice.
"""

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np

from cxrflow.data.reading import read_facts
from cxrflow.files.records import IndexRow, Predictions, SplitRow, write_predictions
from cxrflow.files.tables import write_records, write_table

SIZE_PX = 16
DISTINCT = 64  # files behind an index of any length
LABELS, SHARES = ("Effusion", "Mass", "No Finding"), (0.3, 0.1, 0.6)
IMAGES_PER_PATIENT = 112_120 / 30_805  # of ChestX-ray8
TWICE_EVERY = 50  # rows between two images that are there twice, with equal pixels and another patient
PER_FOLDER = 5_000


def draw_keys(n: int) -> Iterator[tuple[int, str, str]]:
    """Yield n times the number of the image whose pixels it has, a class and a patient."""
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(n), rng.geometric(1 / IMAGES_PER_PATIENT, n))[:n]
    labels = rng.choice(len(LABELS), n, p=SHARES)
    for number in range(n):
        pixels = number - 1 if number % TWICE_EVERY == TWICE_EVERY - 1 else number
        yield pixels, LABELS[labels[pixels]], f"{patients[number]:07d}"


def write_rows(path: Path, n: int) -> Path:
    """Write an index.csv of n images that are nowhere; return it."""
    rows = (
        IndexRow(f"i{number:07d}", f"{number}.png", label, patient, "", 16, 16, "L", digest, digest)
        for number, (pixels, label, patient) in enumerate(draw_keys(n))
        for digest in [sha256(b"%d" % pixels).hexdigest()]
    )
    write_records(path, IndexRow, rows)
    return path


def write_files(folder: Path, n: int) -> Path:
    """Write n small PNG files of noise and labels.csv beside them; return the folder."""
    rng = np.random.default_rng(1)
    rows, noise = [], b""
    for number, (pixels, label, patient) in enumerate(draw_keys(n)):
        place = f"{number // PER_FOLDER}/{number}.png"
        if pixels == number:
            noise = cv2.imencode(".png", rng.integers(0, 256, (SIZE_PX, SIZE_PX), np.uint8))[1].tobytes()
        if number % PER_FOLDER == 0:
            (folder / place).parent.mkdir(parents=True)
        (folder / place).write_bytes(noise)
        rows.append({"image": place, "label": label, "patient": patient})
    write_table(folder / "labels.csv", ["image", "label", "patient"], rows)
    return folder


def write_file_rows(folder: Path, n: int) -> Path:
    """Write index.csv of n images that are a few files in turn; return it."""
    write_files(folder / "films", DISTINCT)
    facts = [read_facts(folder / "films" / "0" / f"{number}.png", max_mpx=1) for number in range(DISTINCT)]
    rows = (
        IndexRow(f"i{number:07d}", f"0/{number % DISTINCT}.png", label, patient, "", **vars(facts[number % DISTINCT]))
        for number, (_, label, patient) in enumerate(draw_keys(n))
    )
    write_records(folder / "index.csv", IndexRow, rows)
    return folder / "index.csv"


def write_packed(folder: Path, n: int) -> tuple[Path, Path]:
    """Write images.npy of n empty images and a split.csv of them; return both."""
    images, split = folder / "images.npy", folder / "split.csv"
    np.lib.format.open_memmap(images, mode="w+", dtype=np.uint8, shape=(n, SIZE_PX, SIZE_PX))
    subsets = np.random.default_rng(2).choice(["train", "val", "test"], n, p=[0.7, 0.15, 0.15]).tolist()
    rows = (
        SplitRow(f"i{number:07d}", label, patient, patient, subsets[number])
        for number, (_, label, patient) in enumerate(draw_keys(n))
    )
    write_records(split, SplitRow, rows)
    return images, split


def write_test_rows(path: Path, n: int) -> Path:
    """Write predictions.csv of the test images of a dataset of n, three in twenty; return it."""
    keys = [key for number, key in enumerate(draw_keys(n)) if number % 20 < 3]
    labels = np.array([LABELS.index(label) for _, label, _ in keys], dtype=np.int64)
    scores = np.random.default_rng(3).random((len(keys), len(LABELS))) + np.eye(len(LABELS))[labels]
    ids = [f"i{number:07d}" for number in range(len(keys))]
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    write_predictions(path, Predictions(ids, [patient for *_, patient in keys], labels, probabilities, [*LABELS]))
    return path


def reader_json() -> str:
    """Return the settings that read what `write_files` wrote."""
    return json.dumps({"reader": "csv", "folder": "films", "table": "labels.csv", "patient_column": "patient"})
