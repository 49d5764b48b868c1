"""Batches of augmented training images, on one core, against what trainings are usually fed with.

python -m tests.benchmarks.batches --size quick
"""

import os
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
from tests.benchmarks.measure import IMAGES_PER_CPU_S, OURS, Goal, Row, compare, is_installed, require_equal, run_row
from tests.benchmarks.processes import interleave_processes

SIZES = {  # packed images, files of 224 px, files of 1024 px, px, large px, rounds
    "full": (2048, 256, 32, 224, 1024, 5),
    "quick": (512, 64, 8, 224, 1024, 3),
    "tiny": (32, 8, 4, 128, 160, 1),
}
BATCH = 32
SETTINGS = TrainSettings(batch_size=BATCH)
FOLDER, LARGE = "ImageFolder of {} px PNG, PIL transforms", "ImageFolder of {} px PNG, resized"
V2, ALBUMENTATIONS, FLOOR = "memory map, torchvision v2 per image", "memory map, albumentations", "gather and float"


class MappedDataset(Dataset[Any]):
    """One image of a memory-mapped array at a time, through a transform: what a careful user writes."""

    def __init__(self, images: np.ndarray, transform: Callable[[np.ndarray], Any]) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> Any:
        return self.transform(np.array(self.images[row])), 0


def pil_transform(resize_px: int | None = None) -> transforms.Compose:
    """Return the study's augmentation as torchvision's PIL transforms."""
    resize = [transforms.Resize((resize_px, resize_px))] if resize_px else []
    steps = [
        transforms.Grayscale(3),
        *resize,
        transforms.RandomHorizontalFlip(0.5),
        transforms.RandomAdjustSharpness(2, 0.5),
        transforms.RandomAutocontrast(0.5),
        transforms.ToTensor(),
        transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
    ]
    return transforms.Compose(steps)


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


def albumentations_transform() -> Callable[[np.ndarray], Tensor]:
    """Return the nearest that albumentations has: its Sharpen is another kernel."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it would ask the network for its newest version
    import albumentations

    steps = [
        albumentations.HorizontalFlip(p=0.5),
        albumentations.Sharpen(p=0.5),
        albumentations.AutoContrast(p=0.5),
        albumentations.Normalize(IMAGENET_MEAN, IMAGENET_STD),
    ]
    chain = albumentations.Compose(steps)
    return lambda pixels: torch.from_numpy(chain(image=np.stack([pixels] * 3, 2))["image"].transpose(2, 0, 1))


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


def make_ours(packed: Path) -> dict[str, Callable[[], int]]:
    """Return what walks through an epoch of ours, and of the floor."""
    images = np.load(packed, mmap_mode="r")
    check_equal(images)
    sides = {OURS: batch_ours, FLOOR: batch_bare}
    return {name: partial(count_images, partial(begin, images)) for name, begin in sides.items()}


def make_peers(folder: Path, packed: Path, size: str) -> dict[str, Callable[[], int]]:
    """Return what walks through an epoch of every peer."""
    _, n_small, n_large, size_px, large_px, _ = SIZES[size]
    images = np.load(packed, mmap_mode="r")[:n_small]
    write_films(folder / "small", size_px, n_small)
    write_films(folder / "large", large_px, n_large)
    loaders: dict[str, Dataset[Any]] = {
        FOLDER.format(size_px): ImageFolder(folder / "small", pil_transform()),
        LARGE.format(large_px): ImageFolder(folder / "large", pil_transform(size_px)),
        V2: MappedDataset(images, v2_transform),
    }
    if is_installed("albumentations"):
        loaders[ALBUMENTATIONS] = MappedDataset(images, albumentations_transform())
    return {name: partial(count_images, partial(batch_loader, dataset)) for name, dataset in loaders.items()}


def measure_rows(size: str) -> list[Row]:
    """Return one row per peer."""
    n_packed, _, _, size_px, large_px, rounds = SIZES[size]
    with work_folder() as folder:
        pack_films(packed := folder / "images.npy", size_px, n_packed)
        timings = interleave_processes(partial(make_ours, packed), partial(make_peers, folder, packed, size), rounds)
    rates = timings.rates(timings.results)
    peers = {FOLDER.format(size_px): Goal(11), LARGE.format(large_px): None, V2: None, ALBUMENTATIONS: None}
    what = f"batches of {BATCH}, {size_px} px, augmented"
    note = (
        "one thread, a process each, no workers; pixels equal torchvision v2's to 1e-6; "
        "floor: neither augmented nor normalized"
    )
    return [
        compare(what, IMAGES_PER_CPU_S, rates, peer=peer, floor=FLOOR, goal=goal, note=note if goal else "")
        for peer, goal in peers.items()
    ]


if __name__ == "__main__":
    run_row(measure_rows)
