"""The shape of one patient's chest, and the curves and outlines that it is drawn with, in chest units (pose.py).

Half coordinates are (d, y) of one side: a side is -1 (the patient's right, left on the film) or +1, and d is the
distance from the midline.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from phantoms.pose import Array

RIGHT, LEFT = SIDES = (-1, 1)
MIDLINE = 0.5
APEX_Y = 0.10
SPAN = np.linspace(0, 1, 8, endpoint=False, dtype=np.float32)[:, None]  # 8 points between two control points

# Inner chest wall and edge of the mediastinum of an average adult, read off standard frontal films: d, then y.
WALL = np.array(
    [(0.105, 0.155, 0.215, 0.272, 0.312, 0.338, 0.352, 0.355), (0.098, 0.108, 0.155, 0.25, 0.38, 0.52, 0.66, 0.76)],
    np.float32,
).T
MEDIASTINUM = np.array(
    [(0.075, 0.052, 0.042, 0.050, 0.060, 0.070, 0.075), (0.112, 0.17, 0.29, 0.40, 0.52, 0.62, 0.69)], np.float32
).T
CONE_Y = 0.68  # where a child's cone-shaped chest is as wide as an adult's


def spline(control: Array | Sequence[tuple[float, float]], closed: bool = False) -> Array:
    """Return Catmull-Rom curves, float32, through control points (..., n, 2); `SPAN` between each two of them."""
    control = np.asarray(control, np.float32)
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
    x: float, y: float, radius_x: float, radius_y: float, angle_rad: float = 0.0, lobes: Array | float = 1.0
) -> Array:
    """Return an ellipse's outline (n, 2); `lobes` multiplies the radius at n angles."""
    lobes = np.asarray(lobes, np.float32)
    turn = np.linspace(0, 2 * np.pi, lobes.size if lobes.ndim else 40, endpoint=False, dtype=np.float32)
    along, across = lobes * radius_x * np.cos(turn), lobes * radius_y * np.sin(turn)
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    return np.stack([x + cos * along - sin * across, y + sin * along + cos * across], axis=1).astype(np.float32)


def to_film(half: Array, side: int | Array) -> Array:
    """Turn half coordinates (..., 2) into chest units; `side` is one, or one per point."""
    return np.stack([MIDLINE + side * half[..., 0], half[..., 1]], axis=-1).astype(np.float32)


def mirror(half: Array) -> Array:
    """Turn half coordinates (..., 2) into chest units of both sides, (2, ..., 2), the right one first."""
    return np.stack([to_film(half, side) for side in SIDES])


@dataclass(frozen=True)
class Body:
    """One patient."""

    child: bool  # young: a wider heart and upper mediastinum, level ribs, arms up
    female: bool  # breast shadows
    chest_width: float  # factors on the average lung field
    chest_height: float
    dome_y: tuple[float, float]  # top of the right and left diaphragm dome
    heart_size: float  # factor on the heart's width
    heart_tilt: float  # how upright it lies: 0 upright, 1 lying
    rib_slope: float  # how steeply the posterior ribs fall, chest units over the half chest
    stout: float  # thickness of the soft tissue, 0-1
    vessels_seed: int  # of the branching of the lung vessels

    def stretch(self, half: Array) -> Array:
        """Apply the patient's width and height to points (n, 2) in half coordinates (d, y)."""
        d = half[:, 0] * self.chest_width
        if self.child:  # a young chest is a cone: narrow above
            d = d * (1 - 0.16 * np.clip(CONE_Y - half[:, 1], 0, None) / CONE_Y)
        return np.stack([d, APEX_Y + (half[:, 1] - APEX_Y) * self.chest_height], axis=1).astype(np.float32)

    def dome(self, side: int) -> float:
        """Return y of the top of a side's diaphragm dome."""
        return self.dome_y[SIDES.index(side)]

    def wall_distance(self, y: Array) -> Array:
        """Return d of the inner chest wall at heights y."""
        return np.interp(y, *self.stretch(WALL).T[::-1]).astype(np.float32)

    def base_curve(self, side: int) -> Array:
        """Return the diaphragm from the costophrenic angle to the mediastinum, (n, 2) as (d, y)."""
        outer, inner = (float(self.stretch(edge)[-1, 0]) for edge in (WALL, MEDIASTINUM))
        along = np.array([0.0, 0.06, 0.22, 0.48, 0.75, 1.0], np.float32)
        drop = np.array([0.095, 0.060, 0.018, 0.0, 0.010, 0.030], np.float32)
        return np.stack([outer + (inner - outer) * along, self.dome(side) + drop], axis=1).astype(np.float32)

    def lung_outline(self, side: int) -> Array:
        """Return the closed outline of a lung's field, from the chest wall over the diaphragm to the mediastinum."""
        base, wall, edge = self.base_curve(side), self.stretch(WALL), self.stretch(MEDIASTINUM)[::-1]
        wall, edge = wall[wall[:, 1] < base[0, 1] - 0.05], edge[edge[:, 1] < base[-1, 1] - 0.03]
        return to_film(spline(np.concatenate([wall, base, edge]), closed=True), side)

    def cage_outline(self, side: int) -> Array:
        """Return the outline of all that is inward of a side's chest wall: its edge is the wall, apex included."""
        wall = self.stretch(WALL)
        inward = [(wall[-1, 0], 1.6), (-0.6, 1.6), (-0.6, -0.5), (0.05, -0.5), (0.06, float(wall[0, 1]) + 0.01)]
        return to_film(np.concatenate([spline(wall), np.array(inward, np.float32)]), side)


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
