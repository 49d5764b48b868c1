"""Packed images with their labels, opened for train and val, or for test.

Reads split.csv and images.npy, whose rows agree: row i is the same image in both. `open_test_rows` is the only door to
the test rows, and `evaluate` the only stage that may use it; a test holds both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrflow.data.images import load_images
from cxrflow.errors import CxrflowError
from cxrflow.files.records import SUBSETS, SplitRow
from cxrflow.files.tables import read_records

LEARNED_FROM = ("train", "val")  # the subsets that train and choose a model
CLOSED = -1  # in place of the label of an image whose subset was not opened


@dataclass(frozen=True)
class SplitImages:
    """A dataset's packed images, and what split.csv says about those of the opened subsets.

    Attributes:
        images: uint8 (N, H, W), 0-255, memory-mapped.
        labels: int64 (N,), index into class_names; CLOSED in every other subset.
        rows: int64 (n,) per opened subset: its images.
        image_ids, patient_ids: one per image.
        class_names: of the whole dataset, alphabetical.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    rows: dict[str, NDArray[np.int64]]
    image_ids: list[str]
    patient_ids: list[str]
    class_names: list[str]

    def labels_of(self, subset: str) -> NDArray[np.int64]:
        """Return the labels of a subset: int64 (n,)."""
        return self.labels[self.rows[subset]]

    def counts(self, subset: str) -> dict[str, int]:
        """Return how many images a subset has of each class, classes without any included."""
        numbers = np.bincount(self.labels_of(subset), minlength=len(self.class_names))
        return dict(zip(self.class_names, numbers.tolist(), strict=True))


def join_split(
    images: NDArray[np.uint8], split: list[SplitRow], where: str = "images", subsets: Sequence[str] = LEARNED_FROM
) -> SplitImages:
    """Join packed images with the rows of their split, open for some subsets.

    Args:
        images: uint8 (N, H, W).
        split: N rows.
        where: names the images in messages.
        subsets: to open.

    Raises:
        CxrflowError: the two are of different length, or a row names no known subset.
    """
    if len(images) != len(split):
        raise CxrflowError(
            f"{where} has {len(images)} images and the split has {len(split)} rows: they come from different indexes; "
            "make both again from one index.csv"
        )
    unknown = next((row for row in split if row.subset not in SUBSETS), None)
    if unknown is not None:
        raise CxrflowError(f"split: {unknown.image_id} is in subset {unknown.subset!r}; known: {', '.join(SUBSETS)}")
    class_names = sorted({row.label for row in split})
    number = {name: i for i, name in enumerate(class_names)}
    subset_of = np.array([row.subset for row in split], dtype=str)
    return SplitImages(
        images=images,
        labels=np.array([number[row.label] if row.subset in subsets else CLOSED for row in split], dtype=np.int64),
        rows={subset: np.flatnonzero(subset_of == subset).astype(np.int64) for subset in subsets},
        image_ids=[row.image_id for row in split],
        patient_ids=[row.patient_id for row in split],
        class_names=class_names,
    )


def open_split_images(images: Path, split: Path, size_px: int) -> SplitImages:
    """Open the train and val rows of images.npy, memory-mapped, with its split.csv.

    Raises:
        CxrflowError: a file is missing or broken, the two do not belong together, or the images are not of `size_px`.
    """
    return _open_subsets(images, split, size_px, LEARNED_FROM)


def open_test_rows(images: Path, split: Path, size_px: int) -> SplitImages:
    """Open the test rows: as `open_split_images`, and the only function that does."""
    return _open_subsets(images, split, size_px, ("test",))


def _open_subsets(images: Path, split: Path, size_px: int, subsets: Sequence[str]) -> SplitImages:
    pixels = load_images(images)
    if pixels.shape[1:] != (size_px, size_px):
        height, width = pixels.shape[1:]
        raise CxrflowError(
            f"{images} holds images of {height}x{width} px, and the preprocess settings say {size_px}x{size_px} px: "
            "take the images of that recipe"
        )
    return join_split(pixels, read_records(split, SplitRow), str(images), subsets)
