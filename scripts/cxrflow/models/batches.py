"""Batches of images: the order of an epoch, where it is cut, and how pixels come from images.npy to the device.

Reads the memory-mapped images row by row, by index: no DataLoader, no workers. Gathering a batch costs under 1 ms.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cxrflow.models.devices import derive_generator

# Of the GPU memory that is free before training, images may take this much; the rest is for the network.
RESIDENT_SHARE = 0.4


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


class ImageSource(Protocol):
    """Where batches of some rows of images.npy come from."""

    def gather(self, places: Tensor) -> Tensor:
        """Return images by their place among the source's rows: int64 (b,) -> uint8 (b, H, W) on the device."""


class MappedSource:
    """Images read from the memory-mapped file at every batch: on the CPU, or more than fit a GPU's memory."""

    def __init__(self, images: NDArray[np.uint8], rows: NDArray[np.int64], device: torch.device) -> None:
        """Take uint8 (N, H, W), the rows of it to serve, and where they are needed."""
        self._images = images
        self._rows = rows
        self._device = device

    def gather(self, places: Tensor) -> Tensor:
        """Return uint8 (b, H, W)."""
        return torch.from_numpy(np.asarray(self._images[self._rows[places.numpy()]])).to(self._device)


class ResidentSource:
    """Images that all lie on the GPU, as uint8: 56,000 of 224 px take 2.8 GB."""

    def __init__(self, images: NDArray[np.uint8], rows: NDArray[np.int64], device: torch.device) -> None:
        """Copy the rows to the device, 1024 at a time, so that memory holds no second copy of them."""
        self._resident = torch.empty((len(rows), *images.shape[1:]), dtype=torch.uint8, device=device)
        for start in range(0, len(rows), 1024):
            part = torch.from_numpy(np.asarray(images[rows[start : start + 1024]]))
            self._resident[start : start + len(part)] = part.to(device)
        self._device = device

    def gather(self, places: Tensor) -> Tensor:
        """Return uint8 (b, H, W)."""
        return self._resident[places.to(self._device, non_blocking=True)]


def open_source(images: NDArray[np.uint8], rows: NDArray[np.int64], device: torch.device) -> ImageSource:
    """Return the fastest source for rows of `images` on `device`: in a GPU's memory if they fit.

    Args:
        images: uint8 (N, H, W), memory-mapped.
        rows: int64 (n,), the only rows that will be read.
        device: where batches are needed.
    """
    if device.type == "cuda":
        free_bytes, _ = torch.cuda.mem_get_info(device)
        if len(rows) * int(np.prod(images.shape[1:])) <= RESIDENT_SHARE * free_bytes:
            return ResidentSource(images, rows, device)
    return MappedSource(images, rows, device)


def batches_in_order(source: ImageSource, rows: slice, batch_size: int) -> Iterator[Tensor]:
    """Yield a stretch of the source's images from first to last, in batches: uint8 (b, H, W)."""
    for start in range(rows.start, rows.stop, batch_size):
        yield source.gather(torch.arange(start, min(start + batch_size, rows.stop)))
