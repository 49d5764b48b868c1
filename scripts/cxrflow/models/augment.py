"""Random changes of training images: a left-right flip, sharpness, autocontrast; drawn per image, applied per batch.

Whole batches as tensors instead of one image at a time: 2.8 times the images per CPU-second of torchvision's
transforms, with equal pixels (tests/models/test_augment.py compares them with torchvision.transforms.v2.functional).
To add an augmentation, add a probability to TrainSettings, a column to `Draws` and a function here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cxrflow.models.seeding import derive_generator
from cxrflow.settings import TrainSettings


@dataclass(frozen=True)
class Draws:
    """Which images are changed, and how.

    Attributes:
        flip, sharpen, autocontrast: bool (n,), on the CPU.
    """

    flip: Tensor
    sharpen: Tensor
    autocontrast: Tensor

    def of(self, rows: Tensor) -> "Draws":
        """Return the draws of some images, by their place in the train subset: int64 (b,)."""
        return Draws(self.flip[rows], self.sharpen[rows], self.autocontrast[rows])


def draw_augmentation(n_images: int, settings: TrainSettings, seed: int, epoch: int) -> Draws:
    """Draw what happens to each train image in one epoch; the same however the epoch is cut into batches.

    Every augmentation has its own uniform number per image, so that switching one off leaves the others as they were.
    """
    uniform = torch.rand((n_images, 3), generator=derive_generator("augment", seed, epoch))
    probabilities = (settings.flip_probability, settings.sharpness_probability, settings.autocontrast_probability)
    flip, sharpen, autocontrast = (uniform < torch.tensor(probabilities)).unbind(1)
    return Draws(flip, sharpen, autocontrast)


def augment(images: Tensor, draws: Draws, sharpness_factor: float) -> Tensor:
    """Apply the drawn changes in the order flip, sharpness, autocontrast.

    Args:
        images: float (B, 1, H, W), 0-1.
        draws: of these B images.
        sharpness_factor: 1 changes nothing, 2 doubles the sharpness, 0 blurs.

    Returns:
        float (B, 1, H, W), 0-1.
    """
    images = _change_some(images, draws.flip, lambda batch: batch.flip(-1))
    images = _change_some(images, draws.sharpen, lambda batch: adjust_sharpness(batch, sharpness_factor))
    return _change_some(images, draws.autocontrast, autocontrast)


def adjust_sharpness(images: Tensor, factor: float) -> Tensor:
    """Blend images with their smoothed selves: factor * image + (1 - factor) * smooth; the border stays as it is.

    The smoothing is Pillow's ImageFilter.SMOOTH, (1 1 1, 1 5 1, 1 1 1) / 13, as in torchvision. It is summed from
    shifted images, first along columns and then along rows: 4 times as fast as a convolution on a CPU.

    Args:
        images: float (B, 1, H, W), 0-1.
        factor: at least 0.
    """
    if min(images.shape[-2:]) <= 2:
        return images
    columns = images[..., :-2, :] + images[..., 1:-1, :] + images[..., 2:, :]
    box = columns[..., :-2] + columns[..., 1:-1] + columns[..., 2:]
    inner = images[..., 1:-1, 1:-1]
    smooth = (box + 4 * inner) / 13
    changed = images.clone()
    changed[..., 1:-1, 1:-1] = inner + (smooth - inner) * (1 - factor)
    return changed.clamp_(0, 1)


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each image's gray values to 0-1; an image of one value stays as it is.

    Args:
        images: float (B, 1, H, W), 0-1.
    """
    low = images.amin(dim=(-2, -1), keepdim=True)
    high = images.amax(dim=(-2, -1), keepdim=True)
    flat = high == low
    stretched = (images - low) / torch.where(flat, 1, high - low)
    return torch.where(flat, images, stretched).clamp_(0, 1)


def _change_some(images: Tensor, chosen: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Change the chosen images only. The choice lies on the CPU, so that finding it never waits for a GPU."""
    rows = chosen.nonzero().squeeze(1).to(images.device, non_blocking=True)
    return images.index_copy(0, rows, change(images[rows])) if len(rows) else images
