"""Batches of augmented training images, on one core, against what trainings are usually fed with."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from cxrflow.config.settings import TrainSettings
from cxrflow.models.augment import Changes, augment, sample_changes
from cxrflow.models.batches import ImageSource, cut_batches, epoch_order
from cxrflow.models.networks import IMAGENET_MEAN, IMAGENET_STD, normalize_gray, to_unit_range
from tests.benchmarks.inputs import pack_films, work_folder, write_films
from tests.benchmarks.measure import IMAGES_PER_CPU_S, OURS, Goal, Row, compare, require_equal
from tests.benchmarks.processes import interleave_processes

SIZES = {  # packed images, files, px, rounds
    "full": (2048, 256, 224, 5),
    "quick": (512, 64, 224, 3),
    "tiny": (32, 8, 128, 1),
}
BATCH = 32
SETTINGS = TrainSettings(batch_size=BATCH)
FOLDER, V2 = "ImageFolder of PNG, PIL transforms", "memory map, torchvision v2 per image"
FLOOR = "gather and float"
NOTE = (
    "one thread, a process each, no workers; pixels equal torchvision v2's to 1e-6; "
    "floor: neither augmented nor normalized"
)


class MappedDataset(Dataset[Any]):
    """One image of a memory-mapped array at a time, through a transform: what a careful user writes."""

    def __init__(self, images: np.ndarray, transform: Callable[[np.ndarray], Any]) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> Any:
        return self.transform(np.array(self.images[row])), 0


# The study's augmentation as torchvision's PIL transforms.
PIL_TRANSFORM = transforms.Compose(
    [
        transforms.Grayscale(3),
        transforms.RandomHorizontalFlip(0.5),
        transforms.RandomAdjustSharpness(2, 0.5),
        transforms.RandomAutocontrast(0.5),
        transforms.ToTensor(),
        transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
    ]
)


def v2_transform(pixels: np.ndarray) -> Tensor:
    return _V2(torch.from_numpy(pixels).unsqueeze(0))


_V2 = v2.Compose(
    [
        v2.ToDtype(torch.float32, scale=True),
        v2.RandomHorizontalFlip(0.5),
        v2.RandomAdjustSharpness(2, 0.5),
        v2.RandomAutocontrast(0.5),
        v2.Grayscale(3),
        v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
    ]
)


def batch_ours(images: np.ndarray) -> Iterator[Tensor]:
    """Yield an epoch as the training loop makes it."""
    source = ImageSource(images, np.arange(len(images)), torch.device("cpu"))
    order = epoch_order(len(images), 0, 1)
    draws = sample_changes(len(images), SETTINGS, 0, 1)
    for part in cut_batches(len(images), BATCH):
        places = order[part]
        with torch.inference_mode():
            batch = augment(source.gather(places), draws.of(places), SETTINGS.sharpness_factor)
        yield normalize_gray(batch)


def batch_bare(images: np.ndarray) -> Iterator[Tensor]:
    """Yield an epoch as float, and nothing else: what no feeding can leave out."""
    source, order = ImageSource(images, np.arange(len(images)), torch.device("cpu")), epoch_order(len(images), 0, 1)
    for part in cut_batches(len(images), BATCH):
        yield to_unit_range(source.gather(order[part]))


def batch_loader(dataset: Dataset[Any]) -> Iterator[Tensor]:
    """Yield an epoch from a DataLoader in this process: workers would take the same CPU time and more."""
    for batch, _ in DataLoader(dataset, BATCH, shuffle=True):
        yield batch


def count_images(begin: Callable[[], Iterator[Tensor]]) -> int:
    """Walk through an epoch; return how many images it had."""
    return sum(len(batch) for batch in begin())


def check_equal(images: np.ndarray) -> None:
    """Check that all three augmentations give torchvision's pixels."""
    packed = torch.from_numpy(np.array(images[:8]))
    everything, batch = torch.ones(len(packed), dtype=torch.bool), to_unit_range(packed)
    ours = augment(packed, Changes(everything, everything, everything), 2.0)
    flipped = functional.adjust_sharpness(functional.horizontal_flip(batch), 2.0)
    require_equal("augmented pixels", float((ours - functional.autocontrast(flipped)).abs().max()), 1e-6)


def make_sides(packed: Path, films: Path, n_files: int) -> dict[str, Callable[[], int]]:
    """Return what walks through an epoch of each side."""
    images = np.load(packed, mmap_mode="r")
    check_equal(images)
    mapped = MappedDataset(images[:n_files], v2_transform)
    sides = {
        OURS: partial(batch_ours, images),
        FLOOR: partial(batch_bare, images),
        FOLDER: partial(batch_loader, ImageFolder(films, PIL_TRANSFORM)),
        V2: partial(batch_loader, mapped),
    }
    return {name: partial(count_images, begin) for name, begin in sides.items()}


def measure_rows(size: str) -> list[Row]:
    """Return one row per peer."""
    n_packed, n_files, size_px, rounds = SIZES[size]
    with work_folder() as folder:
        pack_films(packed := folder / "images.npy", size_px, n_packed)
        write_films(folder / "films", size_px, n_files)
        make = partial(make_sides, packed, folder / "films", n_files)
        timings = interleave_processes(make, [FOLDER, V2], rounds)
    rates = timings.rates(timings.results)
    what = f"batches of {BATCH}, {size_px} px, augmented"
    return [
        compare(what, IMAGES_PER_CPU_S, rates, peer=FOLDER, floor=FLOOR, goal=Goal(11), note=NOTE),
        compare(what, IMAGES_PER_CPU_S, rates, peer=V2, floor=FLOOR),
    ]
