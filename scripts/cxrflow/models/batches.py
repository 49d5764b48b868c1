"""Packed images with their subsets, and batches of them: the order of an epoch, its cuts, and the way to the device.

Reads memory-mapped images.npy with images.csv, and split.csv, joined by image_id. The test rows are packed apart, and
listed apart, in test.csv: `open_test_rows` is the only door to them, and `evaluate` and `probe` the only stages that
may use it; a test holds both. Batches are read row by row, by
index: no DataLoader, no workers. Gathering one costs under 1 ms.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cxrflow.data.capping import seeded_rank
from cxrflow.data.images import open_images
from cxrflow.errors import CxrflowError
from cxrflow.files.openings import record_opening
from cxrflow.files.records import SplitRow, list_findings
from cxrflow.files.tables import read_records
from cxrflow.models.devices import derive_generator

# Of the GPU memory that is free before training, images may take this much; the rest is for the network.
RESIDENT_SHARE = 0.4
SHARE_SEED = 0  # of the order of patients in `take_share`
LEARNED_FROM = ("train", "val")  # the subsets that train and choose a model: those of split.csv


@dataclass(frozen=True)
class SplitImages:
    """Packed images of a dataset, and what split.csv or test.csv says about them.

    Attributes:
        images: uint8 (N, H, W), 0-255, memory-mapped.
        labels: int64 (N,), index into class_names; where an image may have several findings int64 (N, n_classes), 1
            for those that it has.
        rows: int64 (n,) per subset: its images.
        image_ids, patient_ids: one per image.
        class_names: of the whole dataset, alphabetical; the findings, where an image may have several.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    rows: dict[str, NDArray[np.int64]]
    image_ids: list[str]
    patient_ids: list[str]
    class_names: list[str]

    @property
    def has_findings(self) -> bool:
        """Whether an image may have several labels, or none."""
        return self.labels.ndim == 2

    def labels_of(self, subset: str) -> NDArray[np.int64]:
        """Return the labels of a subset: int64 (n,) or (n, n_classes)."""
        return self.labels[self.rows[subset]]

    def names_of(self, row: int) -> list[str]:
        """Return the class of an image, or its findings."""
        numbers = np.flatnonzero(self.labels[row]) if self.has_findings else [self.labels[row]]
        return [self.class_names[number] for number in numbers]

    def counts(self, subset: str) -> dict[str, int]:
        """Return how many images a subset has of each class, classes without any included."""
        labels = self.labels_of(subset)
        numbers = labels.sum(axis=0) if self.has_findings else np.bincount(labels, minlength=len(self.class_names))
        return dict(zip(self.class_names, numbers.tolist(), strict=True))


def join_split(
    images: NDArray[np.uint8], split: list[SplitRow], where: str = "images", subsets: Sequence[str] = LEARNED_FROM
) -> SplitImages:
    """Join packed images, uint8 (N, H, W), with the N rows of their split, all of these subsets.

    `where` names the images in messages.

    Raises:
        CxrflowError: the two are of different length, or a row is of another subset.
    """
    if len(images) != len(split):
        raise CxrflowError(
            f"{where} has {len(images)} images and the split has {len(split)} rows: they come from different indexes; "
            "make both again from one index.csv"
        )
    odd = next((row for row in split if row.subset not in subsets), None)
    if odd is not None:
        raise CxrflowError(
            f"the split of {where}: {odd.image_id} is in subset {odd.subset!r}, and only {' and '.join(subsets)} may be"
            " here: run split again"
        )
    class_names, labels = _number_labels(split)
    subset_of = np.array([row.subset for row in split], dtype=str)
    return SplitImages(
        images=images,
        labels=labels,
        rows={subset: np.flatnonzero(subset_of == subset).astype(np.int64) for subset in subsets},
        image_ids=[row.image_id for row in split],
        patient_ids=[row.patient_id for row in split],
        class_names=class_names,
    )


def _number_labels(split: list[SplitRow]) -> tuple[list[str], NDArray[np.int64]]:
    """Return class_names and labels of SplitImages."""
    if not any(row.findings for row in split):
        names = sorted({row.label for row in split})
        number = {name: i for i, name in enumerate(names)}
        return names, np.array([number[row.label] for row in split], dtype=np.int64)
    found = [list_findings(row) for row in split]
    names = sorted({name for each in found for name in each})
    return names, np.array([[name in each for name in names] for each in found], dtype=np.int64)


def open_split_images(images: Path, split: Path, size_px: int) -> SplitImages:
    """Open images.npy, memory-mapped, with its split.csv: the train and val rows.

    Raises:
        CxrflowError: a file is missing, broken or changed, the two do not belong together, or the images are not of
            `size_px`.
    """
    return _open_subsets(images, split, size_px, LEARNED_FROM)


def open_test_rows(test_images: Path, test: Path, size_px: int, *, opener: str, opener_sha256: str) -> SplitImages:
    """Open the test rows, those of test.csv: as `open_split_images`, and the only function that does.

    Before it gives them away it leaves a record beside test.csv of what opens them, as `Opening` describes it.
    """
    data = _open_subsets(test_images, test, size_px, ("test",))
    record_opening(test, opener, opener_sha256)
    return data


def _open_subsets(images: Path, split: Path, size_px: int, subsets: Sequence[str]) -> SplitImages:
    packed = open_images(images)
    height, width = packed.pixels.shape[1:]
    if (height, width) != (size_px, size_px):
        raise CxrflowError(
            f"{images} holds images of {height}x{width} px, and the preprocess settings say {size_px}x{size_px} px: "
            "take the images of that recipe"
        )
    data = join_split(packed.pixels, packed.join(read_records(split, SplitRow)), str(images), subsets)
    for rows in data.rows.values():
        packed.check(rows.tolist())
    return data


def take_share(data: SplitImages, share: float) -> SplitImages:
    """Return the images with part of the train subset, the same part for every model of this split.

    Whole patients, in seeded order and apart by the rarest class that each has, until the share of these patients'
    images is nearest; at least one patient. A smaller share is part of every larger one.
    """
    counts = data.counts("train")
    patients: dict[str, list[int]] = defaultdict(list)
    for row in data.rows["train"].tolist():
        patients[data.patient_ids[row]].append(row)
    strata: dict[str, list[str]] = defaultdict(list)
    for patient in sorted(patients, key=lambda name: seeded_rank(SHARE_SEED, name)):
        labels = {name for row in patients[patient] for name in data.names_of(row)}
        strata[min(sorted(labels), key=counts.__getitem__, default="")].append(patient)
    kept = []
    for members in strata.values():
        sizes = np.array([len(patients[name]) for name in members])
        middles = np.cumsum(sizes) - sizes / 2
        n_kept = max(1, int((middles <= share * sizes.sum()).sum()))
        kept += [row for name in members[:n_kept] for row in patients[name]]
    return replace(data, rows={**data.rows, "train": np.array(sorted(kept), dtype=np.int64)})


def epoch_order(n_images: int, seed: int, epoch: int) -> Tensor:
    """Return the order of the train images in one epoch: int64 (n_images,), a permutation."""
    return torch.randperm(n_images, generator=derive_generator("order", seed, epoch))


def cut_batches(n_images: int, batch_size: int, smallest: int = 2) -> list[slice]:
    """Cut 0..n_images into batches; a last batch of fewer than `smallest` images joins the one before it.

    BatchNorm in training mode has no variance to divide by in a batch of one.
    """
    starts = list(range(0, n_images, batch_size))
    if len(starts) > 1 and n_images - starts[-1] < smallest:
        starts.pop()
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], n_images], strict=True)]


class ImageSource:
    """Images read from the memory-mapped file at every batch: on the CPU, or more than fit a GPU's memory."""

    def __init__(self, images: NDArray[np.uint8], rows: NDArray[np.int64], device: torch.device) -> None:
        """Take uint8 (N, H, W), the rows of it to serve, int64 (n,), and the device where they are needed."""
        self._images, self._rows, self._device = images, rows, device

    def gather(self, places: Tensor) -> Tensor:
        """Return images by their place among the source's rows: int64 (b,) -> uint8 (b, H, W) on the device."""
        return torch.from_numpy(np.asarray(self._images[self._rows[places.numpy()]])).to(self._device)


class ResidentSource(ImageSource):
    """Images that all lie on the GPU, as uint8: 56,000 of 224 px take 2.8 GB."""

    def __init__(self, images: NDArray[np.uint8], rows: NDArray[np.int64], device: torch.device) -> None:
        """Copy the rows to the device, 1024 at a time, so that memory holds no second copy of them."""
        super().__init__(images, rows, device)
        self._resident = torch.empty((len(rows), *images.shape[1:]), dtype=torch.uint8, device=device)
        for start in range(0, len(rows), 1024):
            part = self._resident[start : start + 1024]
            part.copy_(super().gather(torch.arange(start, start + len(part))))

    def gather(self, places: Tensor) -> Tensor:
        """Return the same from the GPU's memory."""
        return self._resident[places.to(self._device, non_blocking=True)]


def open_source(images: NDArray[np.uint8], rows: NDArray[np.int64], device: torch.device) -> ImageSource:
    """Return the fastest source for rows, int64 (n,), of uint8 (N, H, W): in a GPU's memory if they fit."""
    if device.type == "cuda":
        free_bytes, _ = torch.cuda.mem_get_info(device)
        if len(rows) * int(np.prod(images.shape[1:])) <= RESIDENT_SHARE * free_bytes:
            return ResidentSource(images, rows, device)
    return ImageSource(images, rows, device)


def batches_in_order(source: ImageSource, rows: slice, batch_size: int) -> Iterator[Tensor]:
    """Yield a stretch of the source's images from first to last, in batches: uint8 (b, H, W)."""
    for start in range(rows.start, rows.stop, batch_size):
        yield source.gather(torch.arange(start, min(start + batch_size, rows.stop)))
