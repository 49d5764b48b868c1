"""Where the chest lies on the film, and soft layers over the film.

Chest units: x and y from 0 to 1 over a square frame that holds an adult chest, origin at the upper left, the midline
at x = 0.5. The patient's left is at the right, as on any film.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]  # (H, W) layers, or (..., 2) points; float32 where there are many
Mask = NDArray[np.bool_]  # (H, W)
Canvas = NDArray[np.uint8]  # (H, W)

SUBPIXEL_BITS = 4  # cv2 takes vertices as fixed-point integers


@dataclass(frozen=True)
class Pose:
    """How the chest lies on a film."""

    height_px: int
    width_px: int
    scale_x_px: float  # pixels per chest unit
    scale_y_px: float
    angle_rad: float  # about the frame's middle
    shift: tuple[float, float]  # of the chest, chest units, (x, y)
    bend: tuple[float, float, float, float]  # no one stands straight: amplitude and phase of a wave along x, and y

    @property
    def unit_px(self) -> float:
        """Pixels per chest unit, the mean of both directions."""
        return (self.scale_x_px + self.scale_y_px) / 2

    def to_pixels(self, points: Array) -> Array:
        """Map points (..., 2) from chest units to pixels."""
        amp_x, phase_x, amp_y, phase_y = self.bend
        x = points[..., 0] - 0.5 + self.shift[0] + amp_x * np.sin(4 * points[..., 1] + phase_x)
        y = points[..., 1] - 0.5 + self.shift[1] + amp_y * np.sin(4 * points[..., 0] + phase_y)
        cos, sin = np.cos(self.angle_rad), np.sin(self.angle_rad)
        columns = self.width_px / 2 + (cos * x - sin * y) * self.scale_x_px
        rows = self.height_px / 2 + (sin * x + cos * y) * self.scale_y_px
        return np.stack([columns, rows], axis=-1).astype(np.float32)

    def chest_grid(self) -> tuple[Array, Array]:
        """Return x and y in chest units of every pixel, each (H, W); the bend (under 2 %) is left out."""
        columns = ((np.arange(self.width_px, dtype=np.float32) + 0.5 - self.width_px / 2) / self.scale_x_px)[None, :]
        rows = ((np.arange(self.height_px, dtype=np.float32) + 0.5 - self.height_px / 2) / self.scale_y_px)[:, None]
        cos, sin = np.float32(np.cos(self.angle_rad)), np.float32(np.sin(self.angle_rad))
        x = cos * columns + sin * rows + np.float32(0.5 - self.shift[0])
        y = cos * rows - sin * columns + np.float32(0.5 - self.shift[1])
        return x, y

    def canvas(self) -> Canvas:
        """Return an empty canvas."""
        return np.zeros((self.height_px, self.width_px), np.uint8)

    def paint(self, canvas: Canvas, outlines: Array | Sequence[Array], level: int = 255) -> None:
        """Fill polygons (..., n, 2) given in chest units, with smooth edges; `level` is 0-255."""
        vertices = np.round(self.to_pixels(np.asarray(outlines)) * (1 << SUBPIXEL_BITS)).astype(np.int32)
        for polygon in vertices.reshape(-1, *vertices.shape[-2:]):  # one by one: in one call, overlaps would be holes
            cv2.fillPoly(canvas, [polygon], level, cv2.LINE_AA, SUBPIXEL_BITS)

    def fill(self, outlines: Array | Sequence[Array], soft: float = 0.0) -> Array:
        """Return filled polygons (..., n, 2) as one layer 0-1, its edges blurred over about `soft` chest units."""
        canvas = self.canvas()
        self.paint(canvas, outlines)
        return self.blur(canvas / np.float32(255), soft)

    def blur(self, layer: Array, radius: float) -> Array:
        """Blur a layer with a Gaussian of `radius` chest units."""
        sigma = radius * self.unit_px
        return blur_px(layer, sigma) if sigma > 0.3 else layer


def blur_px(layer: Array, sigma: float) -> Array:
    """Blur with a Gaussian; wide ones on a coarser grid, which costs a tenth and looks the same."""
    if sigma < 6:
        return np.asarray(cv2.GaussianBlur(layer, (0, 0), sigma), np.float32)
    height, width = layer.shape
    small = cv2.resize(layer, (max(width // 4, 1), max(height // 4, 1)), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / 4)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def smooth_noise(rng: np.random.Generator, pose: Pose, cell: float) -> Array:
    """Return smooth noise (H, W) of mean 0 and deviation about 0.7, with features of about `cell` chest units."""
    shape = (int(pose.height_px / pose.scale_y_px / cell) + 3, int(pose.width_px / pose.scale_x_px / cell) + 3)
    grid = rng.standard_normal(shape, dtype=np.float32)
    size = (pose.width_px, pose.height_px)
    return np.asarray(cv2.resize(grid, size, interpolation=cv2.INTER_CUBIC), np.float32)


def smoothstep(layer: Array, low: float, high: float) -> Array:
    """Rise from 0 at `low` to 1 at `high`, with flat ends."""
    t = np.clip((layer - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))
