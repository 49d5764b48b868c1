"""Where the lungs are in images that come without masks: a small U-Net learns it from the datasets that have them.

What is used of its answer is a box. An outline would carry the class: of a lung full of pus a network sees half.
(U-Net: Ronneberger, Fischer & Brox 2015, MICCAI, LNCS 9351:234-241.)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

Gray = NDArray[np.uint8]
Floats = NDArray[np.float32]
Box = tuple[float, float, float, float]  # x, y, width, height, in shares of the image's sides

SIDE_PX = 48
WIDTHS = (8, 16, 32, 64)  # channels per level: 0.12 million parameters
LEAST_STEPS, EPOCHS, BATCH = 160, 5, 16  # few masks are shown more than EPOCHS times
LEARNING_RATE = 0.01
MOST_MASKS = {"train": 2000, "val": 500}  # of a dataset: reading 21,000 would take longer than learning
LEAST_PART = 0.1  # of the largest part of a mask: smaller ones are specks
SLACK = 1.5  # a plausible box is at most so much smaller or larger than those that were learned from
CHUNK = 256  # images at a time


@dataclass(frozen=True)
class Shown:
    """An image with its lungs: its dataset and patient, uint8 (any, any), and float32 (SIDE_PX, SIDE_PX), 0 to 1."""

    dataset: str
    patient_id: str
    thumbnail: Gray
    mask: Floats


@dataclass
class LungFinder:
    """A trained network, and what plausible boxes are like.

    Attributes:
        network: of `make_network`.
        sizes: float64 (2, 2), least and greatest width and height of a box, in shares.
    """

    network: nn.Module
    sizes: NDArray[np.float64] = field(default_factory=lambda: np.array([[0.0, 0.0], [1.0, 1.0]]))

    def find_masks(self, thumbnails: Sequence[Gray] | Gray) -> NDArray[np.bool_]:
        """Return bool (n, SIDE_PX, SIDE_PX), True in the lungs, of uint8 (n, any, any)."""
        masks = [np.zeros((0, SIDE_PX, SIDE_PX), np.bool_)]
        self.network.eval()
        for start in range(0, len(thumbnails), CHUNK):
            with torch.inference_mode():
                found = self.network(_to_tensor(prepare(each) for each in thumbnails[start : start + CHUNK]))
            masks.append((found[:, 0] > 0).numpy())
        return np.concatenate(masks)

    def find_box(self, mask: NDArray[np.bool_]) -> Box | None:
        """Return the box around the lungs; None where they are not found or the box is implausible."""
        box = box_mask(mask)
        size = np.array(box[2:] if box else (0, 0))
        return box if box and (size >= self.sizes[0] / SLACK).all() and (size <= self.sizes[1] * SLACK).all() else None


class _Level(nn.Module):
    """One level of the U-Net with all below it: two convolutions down, what is below, two up again."""

    def __init__(self, channels_in: int, widths: Sequence[int]) -> None:
        super().__init__()
        width, *deeper = widths
        self.down = _convolve(channels_in, width)
        self.below = _Level(width, deeper) if deeper else None
        self.up = _convolve(width + deeper[0], width) if deeper else None

    def forward(self, image: Tensor) -> Tensor:
        here: Tensor = self.down(image)
        if self.below is None or self.up is None:
            return here
        below = functional.interpolate(self.below(functional.max_pool2d(here, 2)), scale_factor=2.0)
        return torch.as_tensor(self.up(torch.cat([here, below], dim=1)))


def make_network() -> nn.Module:
    """Return the untrained U-Net: float32 (n, 1, SIDE_PX, SIDE_PX) in, logits of the lungs of equal shape out."""
    return nn.Sequential(_Level(1, WIDTHS), nn.Conv2d(WIDTHS[0], 1, 1))


def _convolve(channels_in: int, channels_out: int) -> nn.Module:
    layers: list[nn.Module] = []
    for channels in (channels_in, channels_out):
        layers += [nn.Conv2d(channels, channels_out, 3, padding=1, bias=False), nn.BatchNorm2d(channels_out), nn.ReLU()]
    return nn.Sequential(*layers)


def prepare(thumbnail: Gray) -> Gray:
    """Return uint8 (SIDE_PX, SIDE_PX), equalised: sources differ in brightness."""
    small = cv2.resize(thumbnail, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.equalizeHist(small), np.uint8)


def train_finder(thumbnails: Sequence[Gray] | Gray, masks: Sequence[Floats], seed: int) -> LungFinder:
    """Train a network on images and their lungs, by cross-entropy.

    thumbnails: uint8 (any, any). masks: float32 (SIDE_PX, SIDE_PX), 0 to 1, one per image.
    Each image is mirrored half the time, moved, scaled, and changed in contrast, so that another source is no surprise.
    """
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make_network()
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE)
    steps = max(LEAST_STEPS, EPOCHS * len(masks) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, steps)
    images = [prepare(each) for each in thumbnails]
    network.train()
    for _ in range(steps):
        moved = [_move(images[k], masks[k], rng) for k in rng.integers(len(images), size=BATCH)]
        logits = network(_to_tensor(image for image, _ in moved))
        truth = torch.from_numpy(np.stack([mask for _, mask in moved]))[:, None]
        optimizer.zero_grad()
        functional.binary_cross_entropy_with_logits(logits, truth).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    boxes = np.array([box[2:] for mask in masks if (box := box_mask(mask > 0.5))])
    return LungFinder(network, np.stack([boxes.min(axis=0), boxes.max(axis=0)]).astype(np.float64))


def _move(image: Gray, mask: Floats, rng: np.random.Generator) -> tuple[Gray, Floats]:
    middle = (SIDE_PX - 1) / 2
    affine = np.array(cv2.getRotationMatrix2D((middle, middle), rng.uniform(-8, 8), rng.uniform(0.8, 1.2)), np.float64)
    affine[:, 2] += rng.uniform(-0.08, 0.08, 2) * SIDE_PX
    if rng.random() < 0.5:
        affine[0] = -affine[0]
        affine[0, 2] += SIDE_PX - 1
    size = (SIDE_PX, SIDE_PX)
    grey = np.round(255 * (image / 255) ** np.exp(rng.uniform(-0.5, 0.5))).astype(np.uint8)
    return np.asarray(cv2.warpAffine(grey, affine, size), np.uint8), np.asarray(
        cv2.warpAffine(mask, affine, size), np.float32
    )


def _to_tensor(images: Iterable[Gray]) -> Tensor:
    return torch.from_numpy(np.stack(list(images)).astype(np.float32) / 127.5 - 1)[:, None]


def box_mask(mask: NDArray[np.bool_]) -> Box | None:
    """Return the box around the parts of a mask, in shares of its sides, specks left out; None where it is empty."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    parts = stats[1:][stats[1:, cv2.CC_STAT_AREA] >= LEAST_PART * stats[1:, cv2.CC_STAT_AREA].max(initial=0)]
    if not len(parts):
        return None
    (left, top), (right, bottom) = parts[:, :2].min(axis=0), (parts[:, :2] + parts[:, 2:4]).max(axis=0)
    height, width = mask.shape
    return left / width, top / height, (right - left) / width, (bottom - top) / height


def measure_dice(found: NDArray[np.bool_], true: NDArray[np.bool_]) -> list[float]:
    """Return the Dice coefficient of each mask, 0 to 1: bool (n, H, W) both, no true one empty."""
    both, either = (found & true).sum(axis=(1, 2)), found.sum(axis=(1, 2)) + true.sum(axis=(1, 2))
    return [float(each) for each in 2 * both / either]
