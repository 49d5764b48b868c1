"""What the rows work on: synthetic X-rays as PNG files, their index and packed arrays."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxrflow.config.settings import PreprocessSettings
from cxrflow.data.preprocessing import preprocess_image
from cxrflow.data.reading import read_facts
from cxrflow.files.records import IndexRow, SplitRow
from cxrflow.files.tables import read_records, write_records
from cxrflow.models.batches import SplitImages, join_split
from phantoms.render import Fate, ImageTask, synthesise_image
from tests.packed import write_image_table

CLASSES = {"Effusion": ("effusion",), "Mass": ("mass",), "No Finding": ()}
DISTINCT = 12  # phantoms of one size; one of 1024 px takes longer to synthesise than to preprocess
LABELS = (*CLASSES,)

Gray = NDArray[np.uint8]  # uint8 (H, W), 0-255


@contextmanager
def work_folder() -> Iterator[Path]:
    """Give a folder that is removed at the end."""
    with TemporaryDirectory(prefix="cxrflow-bench-") as name:
        yield Path(name)


def make_films(size_px: int, count: int = DISTINCT) -> list[tuple[str, Gray]]:
    """Synthesise X-rays of the three classes in turn; return their class and uint8 (size_px, size_px)."""
    cv2.setNumThreads(1)
    labels = [LABELS[number % len(LABELS)] for number in range(count)]
    tasks = [make_task(label, number, size_px) for number, label in enumerate(labels)]
    return [(task.label, synthesise_image(task, seed=0).pixels) for task in tasks]


def make_task(label: str, number: int, size_px: int) -> ImageTask:
    """Return the task of one X-ray of a class, of a patient of its own."""
    return ImageTask("xray8", f"{number}.png", label, Fate.KEPT, CLASSES[label], number, number, size_px, size_px)


def write_films(folder: Path, size_px: int, count: int, distinct: int = DISTINCT) -> list[Path]:
    """Write `count` PNG files, <folder>/<class>/<number>.png, and return their paths; phantoms repeat.

    Pillow's encoder chooses a filter for every row, as the published files of ChestX-ray8 have them; cv2's does not.
    """
    films = make_films(size_px, min(count, distinct))
    paths = []
    for number in range(count):
        label, pixels = films[number % len(films)]
        path = folder / label / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number < len(films):
            Image.fromarray(pixels).save(path)
        else:
            path.hardlink_to(paths[number % len(films)])
        paths.append(path)
    return paths


def write_index(folder: Path, paths: list[Path], index: Path, count: int | None = None) -> Path:
    """Write an index of `count` images, the paths in turn; return it."""
    facts = [read_facts(path, max_mpx=100) for path in paths[:DISTINCT]]
    rows = []
    for number in range(count or len(paths)):
        path, found = paths[number % len(paths)], facts[number % len(facts)]
        if isinstance(found, str):
            raise TypeError(found)
        place = path.relative_to(folder).as_posix()
        rows.append(IndexRow(str(number), place, path.parent.name, str(number), "", **found.columns))
    write_records(index, IndexRow, rows)
    return index


def pack_films(path: Path, size_px: int, count: int) -> SplitImages:
    """Write a preprocessed array of `count` images, memory-map it, and join it with a split."""
    settings = PreprocessSettings(size_px)
    films = [preprocess_image(pixels, settings) for _, pixels in make_films(size_px, min(count, DISTINCT))]
    packed = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(count, size_px, size_px))
    for number in range(count):
        packed[number] = films[number % len(films)]
    packed.flush()
    write_image_table(path, packed, split_rows(count))
    return join_split(np.load(path, mmap_mode="r"), split_rows(count))


def preprocess_files(folder: Path, index: Path, images: Path) -> list[str | Path]:
    """Return the flags of preprocess for the films of a folder; its last one is the test subset, the rest is packed."""
    rows = [
        SplitRow(row.image_id, row.label, row.patient_id, row.patient_id, "train")
        for row in read_records(index, IndexRow)
    ]
    split, test = index.with_name(f"{index.stem}_split.csv"), index.with_name(f"{index.stem}_test.csv")
    write_records(split, SplitRow, rows[:-1])
    write_records(test, SplitRow, rows[-1:])
    packed = ["--images", images, "--test-images", images.with_name("test_images.npy")]
    tables = ["--index", index, "--split", split, "--test", test]
    return ["--folder", folder / "films", *tables, "--resume", folder / "resume", *packed]


def split_rows(count: int) -> list[SplitRow]:
    """Return a split of `count` images, half of them in train."""
    rows = []
    for number in range(count):
        subset = ("train", "val")[number // len(LABELS) % 2]
        rows.append(SplitRow(str(number), LABELS[number % len(LABELS)], str(number), str(number), subset))
    return rows
