"""Random changes of training images: flip, affine map, sharpness, autocontrast; chosen per image, applied per batch.

Three times the images per CPU-second of torchvision's transforms, with equal pixels (tests/models/test_augment.py
compares them with torchvision.transforms.v2.functional).
To add an augmentation, add a probability to TrainSettings, a column to `Changes` and a function here, in both forms.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cxrflow.config.settings import TrainSettings
from cxrflow.models.devices import derive_generator
from cxrflow.models.networks import to_unit_range


@dataclass(frozen=True)
class Changes:
    """Which images are changed, and how, on the CPU: bool (n,) each, and for `affine` float32 (n, 2, 3).

    affine: where the pixels come from, as torch.nn.functional.affine_grid takes it; None: no image is mapped.
    """

    flip: Tensor
    sharpen: Tensor
    autocontrast: Tensor
    affine: Tensor | None = None

    def of(self, rows: Tensor | slice) -> "Changes":
        """Return the changes of some images, by their place in the train subset: int64 (b,), or a stretch."""
        affine = None if self.affine is None else self.affine[rows]
        return Changes(self.flip[rows], self.sharpen[rows], self.autocontrast[rows], affine)


def sample_changes(n_images: int, settings: TrainSettings, seed: int, epoch: int) -> Changes:
    """Choose at random what changes in each train image in one epoch, however the epoch is cut into batches.

    Every augmentation has its own uniform number per image, so that switching one off leaves the others as they were.
    """
    uniform = torch.rand((n_images, 3), generator=derive_generator("augment", seed, epoch))
    probabilities = (settings.flip_probability, settings.sharpness_probability, settings.autocontrast_probability)
    flip, sharpen, autocontrast = (uniform < torch.tensor(probabilities)).unbind(1)
    affine = sample_affine(n_images, settings, seed, epoch) if settings.affine_probability else None
    return Changes(flip, sharpen, autocontrast, affine)


def sample_affine(n_images: int, settings: TrainSettings, seed: int, epoch: int) -> Tensor:
    """Draw a turn, a change of scale and a shift for each image; the identity where it is not to be mapped.

    Returns float32 (n_images, 2, 3): R(-angle) / scale, and minus that times the shift, of coordinates from -1 to 1.
    """
    draws = torch.rand((n_images, 5), generator=derive_generator("affine", seed, epoch))
    spread = (2 * draws[:, 1:] - 1) * (draws[:, :1] < settings.affine_probability)  # -1 to 1; 0 is the identity
    angle, scale = torch.deg2rad(spread[:, 0] * settings.affine_degrees), 1 + spread[:, 1] * settings.affine_scale
    shift = 2 * settings.affine_shift * spread[:, 2:, None]
    turn = torch.stack([angle.cos(), angle.sin(), -angle.sin(), angle.cos()], dim=1).view(-1, 2, 2)
    inverse = turn / scale[:, None, None]
    return torch.cat([inverse, -inverse @ shift], dim=2)


def augment(images: Tensor, changes: Changes, sharpness_factor: float) -> Tensor:
    """Apply changes in the order flip, affine map, sharpness, autocontrast.

    On a GPU a change is made to all its images at once. On a CPU an image passes through all its changes before the
    next one does: it stays in the core's cache, which halves the time; the pixels are the same.

    images: uint8 (B, H, W), 0-255; changes: of these B images; sharpness_factor: 1 changes nothing, 2 doubles the
    sharpness, 0 blurs. Returns float32 (B, 1, H, W), 0-1.
    """
    if images.device.type != "cpu":
        return _augment_together(images, changes, sharpness_factor)
    augmented = torch.empty((len(images), 1, *images.shape[1:]))
    for place in range(len(images)):
        one = slice(place, place + 1)
        augmented[one] = _augment_together(images[one], changes.of(one), sharpness_factor)
    return augmented


def _augment_together(images: Tensor, changes: Changes, sharpness_factor: float) -> Tensor:
    augmented = to_unit_range(_change_chosen(images, changes.flip, lambda some: some.flip(-1)))
    if changes.affine is not None:
        augmented = map_images(augmented, changes.affine)
    augmented = _change_chosen(augmented, changes.sharpen, lambda some: adjust_sharpness(some, sharpness_factor))
    return _change_chosen(augmented, changes.autocontrast, autocontrast)


def map_images(images: Tensor, affine: Tensor) -> Tensor:
    """Move the pixels of images, float (B, 1, H, W), bilinearly; affine: (B, 2, 3), as in `Changes`."""
    grid = functional.affine_grid(affine.to(images.device, non_blocking=True), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def adjust_sharpness(images: Tensor, factor: float) -> Tensor:
    """Blend images with their smoothed selves: factor * image + (1 - factor) * smooth; the border stays as it is.

    The smoothing is Pillow's ImageFilter.SMOOTH, (1 1 1, 1 5 1, 1 1 1) / 13, as in torchvision.

    images: float32 (B, 1, H, W), 0-1; factor: at least 0.
    """
    height, width = images.shape[-2:]
    if min(height, width) <= 2:
        return images
    around = (1 - factor) / 13
    filter_images = _filter_on_cpu if images.device.type == "cpu" else _filter_on_gpu
    changed = filter_images(images, factor + 5 * around, around).clamp_(0, 1)
    changed[..., :: height - 1, :] = images[..., :: height - 1, :]
    changed[..., :: width - 1] = images[..., :: width - 1]
    return changed


def _filter_on_cpu(images: Tensor, centre: float, around: float) -> Tensor:
    """Return centre * pixel + around * the eight pixels around it, summed up; the border is undefined."""
    kernel = np.full((3, 3), around, np.float32)
    kernel[1, 1] = centre
    changed = torch.empty_like(images)
    for image, filtered in zip(images.numpy(), changed.numpy(), strict=True):
        cv2.filter2D(image[0], -1, kernel, dst=filtered[0])
    return changed


def _filter_on_gpu(images: Tensor, centre: float, around: float) -> Tensor:
    """Return the same from shifted images: no convolution, which TF32 would round."""
    columns = images[..., :-2, :] + images[..., 1:-1, :] + images[..., 2:, :]
    box = columns[..., :-2] + columns[..., 1:-1] + columns[..., 2:]
    changed = torch.empty_like(images)
    changed[..., 1:-1, 1:-1] = (images[..., 1:-1, 1:-1] * (centre - around)).add_(box, alpha=around)
    return changed


def autocontrast(images: Tensor) -> Tensor:
    """Stretch the gray values of each image, float (B, 1, H, W), to 0-1; an image of one value stays as it is."""
    low, high = images.amin(dim=(-2, -1), keepdim=True), images.amax(dim=(-2, -1), keepdim=True)
    is_flat = high == low
    return (images - low.masked_fill(is_flat, 0)).div_((high - low).masked_fill_(is_flat, 1))


def _change_chosen(images: Tensor, chosen: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Change the chosen images at once. The choice lies on the CPU, so that finding it never waits for a GPU."""
    if len(images) == 1:
        return change(images) if chosen else images
    rows = chosen.nonzero().squeeze(1).to(images.device, non_blocking=True)
    return images.index_copy(0, rows, change(images[rows])) if len(rows) else images
