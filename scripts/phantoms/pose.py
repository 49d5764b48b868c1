"""Where the chest lies on the film, soft shapes in chest units, and the shape of one patient's chest.

Chest units: x and y from 0 to 1 over a square frame that holds an adult chest, origin at the upper left, the midline
at x = 0.5. The patient's left is at the right, as on any film. Half coordinates are (d, y) of one side: a side is -1
(the patient's right, left on the film) or +1, and d is the distance from the midline.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]  # (H, W) layers, or (..., 2) points; float32 where there are many
Mask = NDArray[np.bool_]  # (H, W)

SUBPIXEL_BITS = 4  # cv2 takes vertices as fixed-point integers
SAMPLES_PER_SPAN = 8  # points on a spline between two control points
SPAN = np.linspace(0, 1, SAMPLES_PER_SPAN, endpoint=False, dtype=np.float32)[:, None]


@dataclass(frozen=True)
class Pose:
    """A film of `height_px` x `width_px` and how the chest lies on it.

    Attributes:
        height_px, width_px: of the canvas.
        scale_x_px, scale_y_px: pixels per chest unit.
        angle_rad: rotation about the frame's middle.
        shift: of the chest, chest units, (x, y).
        bend: no one stands straight: amplitude (chest units) and phase of a slow wave, sideways and upward.
    """

    height_px: int
    width_px: int
    scale_x_px: float
    scale_y_px: float
    angle_rad: float
    shift: tuple[float, float]
    bend: tuple[float, float, float, float]

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

    def canvas(self) -> NDArray[np.uint8]:
        """Return an empty canvas, uint8 (H, W)."""
        return np.zeros((self.height_px, self.width_px), np.uint8)

    def paint(self, canvas: NDArray[np.uint8], outlines: Array, level: int = 255) -> None:
        """Fill one polygon (n, 2) or many (k, n, 2) given in chest units, with smooth edges; `level` is 0-255."""
        vertices = np.round(self.to_pixels(outlines) * (1 << SUBPIXEL_BITS)).astype(np.int32)
        for polygon in vertices.reshape(-1, *vertices.shape[-2:]):  # one by one: in one call, overlaps would be holes
            cv2.fillPoly(canvas, [polygon], level, cv2.LINE_AA, SUBPIXEL_BITS)

    def fill(self, outline: Array, soft: float = 0.0) -> Array:
        """Return a filled polygon as a layer 0-1, its edge blurred over about `soft` chest units."""
        canvas = self.canvas()
        self.paint(canvas, outline)
        return self.soften(canvas, soft)

    def soften(self, canvas: NDArray[np.uint8], radius: float) -> Array:
        """Turn a canvas into a layer 0-1, blurred over `radius` chest units."""
        return self.blur(canvas / np.float32(255), radius)

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


def points(*pairs: tuple[float, float]) -> Array:
    """Build points (n, 2) from pairs."""
    return np.array(pairs, dtype=np.float32)


def spline(control: Array, closed: bool = False) -> Array:
    """Return Catmull-Rom curves through control points (..., n, 2), `SAMPLES_PER_SPAN` points per span."""
    first, last = control[..., :1, :], control[..., -1:, :]
    if closed:
        before, after = last, control[..., :2, :]
    else:
        before, after = 2 * first - control[..., 1:2, :], 2 * last - control[..., -2:-1, :]
    padded = np.concatenate([before, control, after], axis=-2)
    p0, p1, p2, p3 = (padded[..., i : padded.shape[-2] - 3 + i, None, :] for i in range(4))
    curve = (
        2 * p1 + (p2 - p0) * SPAN + (2 * p0 - 5 * p1 + 4 * p2 - p3) * SPAN**2 + (3 * p1 - p0 - 3 * p2 + p3) * SPAN**3
    )
    flat = (curve / 2).reshape(*control.shape[:-2], -1, 2)
    return flat if closed else np.concatenate([flat, last], axis=-2)


def ribbon(centreline: Array, width: float | Array) -> Array:
    """Return the outlines of bands along centrelines (..., n, 2); `width` is one, or one per point (..., n)."""
    ahead = np.concatenate([centreline[..., 1:, :], centreline[..., -1:, :]], axis=-2)
    behind = np.concatenate([centreline[..., :1, :], centreline[..., :-1, :]], axis=-2)
    tangent = ahead - behind
    half = np.asarray(width, np.float32) / 2 / (np.hypot(tangent[..., 0], tangent[..., 1]) + np.float32(1e-9))
    offset = np.stack([-tangent[..., 1] * half, tangent[..., 0] * half], axis=-1)
    return np.concatenate([centreline + offset, (centreline - offset)[..., ::-1, :]], axis=-2).astype(np.float32)


def ellipse(
    x: float, y: float, radius_x: float, radius_y: float, angle_rad: float = 0.0, lobes: Array | None = None
) -> Array:
    """Return an ellipse's outline (n, 2); `lobes` multiplies the radius at n angles."""
    count = 40 if lobes is None else len(lobes)
    turn = np.linspace(0, 2 * np.pi, count, endpoint=False, dtype=np.float32)
    stretch = np.ones(count, np.float32) if lobes is None else lobes
    along, across = stretch * radius_x * np.cos(turn), stretch * radius_y * np.sin(turn)
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    return np.stack([x + cos * along - sin * across, y + sin * along + cos * across], axis=1).astype(np.float32)


RIGHT, LEFT = -1, 1
SIDES = (RIGHT, LEFT)
MIDLINE = 0.5
APEX_Y = 0.10

# Inner chest wall and edge of the mediastinum of an average adult, read off standard frontal films: d, then y.
WALL = np.array(
    [(0.105, 0.155, 0.215, 0.272, 0.312, 0.338, 0.352, 0.355), (0.098, 0.108, 0.155, 0.25, 0.38, 0.52, 0.66, 0.76)],
    np.float32,
).T
MEDIASTINUM = np.array(
    [(0.075, 0.052, 0.042, 0.050, 0.060, 0.070, 0.075), (0.112, 0.17, 0.29, 0.40, 0.52, 0.62, 0.69)], np.float32
).T
CONE_Y = 0.68  # where a child's cone-shaped chest is as wide as an adult's


@dataclass(frozen=True)
class Body:
    """One patient.

    Attributes:
        child: a young child: a wider heart and upper mediastinum, level ribs, arms up.
        female: breast shadows.
        chest_width, chest_height: factors on the average lung field.
        dome_y: top of the right and left diaphragm dome.
        heart_size, heart_tilt: factor on the heart's width, and how upright it lies (0 upright, 1 lying).
        rib_slope: how steeply the posterior ribs fall, chest units over the half chest.
        stout: thickness of the soft tissue, 0-1.
        vessels_seed: of the branching of the lung vessels.
    """

    child: bool
    female: bool
    chest_width: float
    chest_height: float
    dome_y: tuple[float, float]
    heart_size: float
    heart_tilt: float
    rib_slope: float
    stout: float
    vessels_seed: int

    def stretch(self, half: Array) -> Array:
        """Apply the patient's width and height to points (n, 2) in half coordinates (d, y)."""
        d = half[:, 0] * self.chest_width
        if self.child:  # a young chest is a cone: narrow above
            d = d * (1 - 0.16 * np.clip(CONE_Y - half[:, 1], 0, None) / CONE_Y)
        return np.stack([d, APEX_Y + (half[:, 1] - APEX_Y) * self.chest_height], axis=1).astype(np.float32)

    def dome(self, side: int) -> float:
        """Return y of the top of a side's diaphragm dome."""
        return self.dome_y[0 if side == RIGHT else 1]

    def wall_distance(self, y: Array) -> Array:
        """Return d of the inner chest wall at heights y."""
        wall = self.stretch(WALL)
        return np.interp(y, wall[:, 1], wall[:, 0]).astype(np.float32)

    def base_curve(self, side: int) -> Array:
        """Return the diaphragm from the costophrenic angle to the mediastinum, (n, 2) as (d, y)."""
        outer = float(self.stretch(WALL)[-1, 0])
        inner = float(self.stretch(MEDIASTINUM)[-1, 0])
        top = self.dome(side)
        along = np.array([0.0, 0.06, 0.22, 0.48, 0.75, 1.0], np.float32)
        drop = np.array([0.095, 0.060, 0.018, 0.0, 0.010, 0.030], np.float32)
        return np.stack([outer + (inner - outer) * along, top + drop], axis=1).astype(np.float32)

    def lung_outline(self, side: int) -> Array:
        """Return the closed outline of a lung's field, from the chest wall over the diaphragm to the mediastinum."""
        base = self.base_curve(side)
        wall = self.stretch(WALL)
        wall = wall[wall[:, 1] < base[0, 1] - 0.05]
        edge = self.stretch(MEDIASTINUM)[::-1]
        edge = edge[edge[:, 1] < base[-1, 1] - 0.03]
        return to_film(spline(np.concatenate([wall, base, edge]), closed=True), side)

    def cage_outline(self, side: int) -> Array:
        """Return the outline of all that is inward of a side's chest wall: its edge is the wall, apex included."""
        wall = self.stretch(WALL)
        outer = np.array(
            [(wall[-1, 0], 1.6), (-0.6, 1.6), (-0.6, -0.5), (0.05, -0.5), (0.06, float(wall[0, 1]) + 0.01)], np.float32
        )
        return to_film(np.concatenate([spline(wall), outer]), side)


def to_film(half: Array, side: int | Array) -> Array:
    """Turn half coordinates (..., 2) into chest units; `side` is one, or one per point."""
    return np.stack([MIDLINE + side * half[..., 0], half[..., 1]], axis=-1).astype(np.float32)


def sample_body(rng: np.random.Generator, child: bool) -> Body:
    """Sample a patient; the ranges span thin to stout, deep to shallow breath."""
    height = rng.uniform(0.90, 1.10) * (0.88 if child else 1.0)
    right = APEX_Y + (0.69 - APEX_Y) * height + rng.uniform(-0.02, 0.02)
    return Body(
        child=child,
        female=bool(not child and rng.random() < 0.5),
        chest_width=rng.uniform(0.90, 1.08),
        chest_height=height,
        dome_y=(right, right + rng.uniform(0.005, 0.04)),
        heart_size=rng.uniform(0.82, 1.04) * (1.20 if child else 1.0),
        heart_tilt=rng.uniform(0.1, 0.9),
        rib_slope=rng.uniform(0.05, 0.10) * (0.7 if child else 1.0),
        stout=rng.uniform(0.0, 1.0),
        vessels_seed=int(rng.integers(2**32)),
    )
