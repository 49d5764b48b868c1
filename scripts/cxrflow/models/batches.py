"""Batches of images: the order of an epoch, where it is cut, and how pixels come from images.npy to the device.

Reads the memory-mapped images row by row, by index: no DataLoader, no workers. Gathering a batch costs under 1 ms.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cxrflow.models.ranks import ALONE, Ranks
from cxrflow.models.seeding import derive_generator

# Of the GPU memory that is free before training, images may take this much; the rest is for the network.
RESIDENT_SHARE = 0.4


def epoch_order(n_images: int, seed: int, epoch: int) -> Tensor:
    """Return the order of the train images in one epoch: int64 (n_images,), a permutation."""
    return torch.randperm(n_images, generator=derive_generator("order", seed, epoch))


def cut_batches(n_images: int, batch_size: int) -> list[slice]:
    """Cut 0..n_images into batches; a last batch of one image joins the one before it.

    BatchNorm in training mode has no variance to divide by in a batch of one.
    """
    starts = list(range(0, n_images, batch_size))
    if len(starts) > 1 and n_images - starts[-1] == 1:
        starts.pop()
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], n_images], strict=True)]


class ImageSource(Protocol):
    """Where batches of some rows of images.npy come from."""

    def gather(self, places: Tensor) -> Tensor:
        """Return images by their place among the source's rows: int64 (b,) -> uint8 (b, H, W) on the device."""


class MappedSource:
    """Images read from the memory-mapped file at every batch, for training on the CPU."""

    def __init__(self, images: NDArray[np.uint8], rows: NDArray[np.int64]) -> None:
        """Take uint8 (N, H, W) and the rows of it to serve."""
        self._images = images
        self._rows = rows

    def gather(self, places: Tensor) -> Tensor:
        """Return uint8 (b, H, W)."""
        return torch.from_numpy(np.asarray(self._images[self._rows[places.numpy()]]))


class ResidentSource:
    """Images that lie on the GPU as a whole, as uint8: 56,000 of 224 px take 2.8 GB."""

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


class PinnedSource:
    """Images copied to the GPU batch by batch, for data larger than its memory.

    Kernels are queued, not waited for: while the GPU works on one batch, the CPU gathers the next into the other of two
    page-locked buffers. A buffer is filled again only after its last copy has left it.
    """

    def __init__(self, images: NDArray[np.uint8], rows: NDArray[np.int64], device: torch.device) -> None:
        """Take uint8 (N, H, W) and the rows of it to serve."""
        self._images = images
        self._rows = rows
        self._device = device
        self._buffers: list[Tensor] = [torch.empty((0, *images.shape[1:]), dtype=torch.uint8) for _ in range(2)]
        self._copied = [torch.cuda.Event(), torch.cuda.Event()]  # type: ignore[no-untyped-call]
        self._turn = 0

    def gather(self, places: Tensor) -> Tensor:
        """Return uint8 (b, H, W)."""
        self._turn = 1 - self._turn
        self._copied[self._turn].synchronize()
        buffer = self._buffer(len(places))
        # mode="clip": with "raise" numpy gathers into a copy first
        np.take(self._images, self._rows[places.numpy()], axis=0, out=buffer.numpy(), mode="clip")
        batch = buffer.to(self._device, non_blocking=True)
        self._copied[self._turn].record()
        return batch

    def _buffer(self, size: int) -> Tensor:
        if len(self._buffers[self._turn]) < size:
            shape = (size, *self._images.shape[1:])
            self._buffers[self._turn] = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        return self._buffers[self._turn][:size]


def open_source(images: NDArray[np.uint8], rows: NDArray[np.int64], device: torch.device) -> ImageSource:
    """Return the fastest source for rows of `images` on `device`.

    Args:
        images: uint8 (N, H, W), memory-mapped.
        rows: int64 (n,), the only rows that will be read.
        device: where batches are needed.
    """
    if device.type != "cuda":
        return MappedSource(images, rows)
    free_bytes, _ = torch.cuda.mem_get_info(device)
    needed_bytes = len(rows) * int(np.prod(images.shape[1:]))
    fits = needed_bytes <= RESIDENT_SHARE * free_bytes
    return ResidentSource(images, rows, device) if fits else PinnedSource(images, rows, device)


def batches_in_order(
    source: ImageSource, n_images: int, batch_size: int, ranks: Ranks = ALONE
) -> Iterator[tuple[slice, Tensor]]:
    """Yield the source's images from first to last as (their slice, uint8 (b, H, W)); ranks take batches in turn."""
    for start in range(ranks.rank * batch_size, n_images, ranks.count * batch_size):
        part = slice(start, min(start + batch_size, n_images))
        yield part, source.gather(torch.arange(part.start, part.stop))
