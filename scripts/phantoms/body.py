"""The shape of one patient's chest, in chest units (see pose.py); images of one patient share it.

Half coordinates: a side is -1 (the patient's right, left on the film) or +1, and d is the distance from the midline.
"""

from dataclasses import dataclass

import numpy as np

from phantoms.pose import Array, spline

RIGHT, LEFT = -1, 1
SIDES = (RIGHT, LEFT)
MIDLINE = 0.5
APEX_Y = 0.10

# Inner chest wall and edge of the mediastinum of an average adult, read off standard frontal films: rows of (d, y).
WALL = np.array(
    [
        (0.105, 0.098),
        (0.155, 0.108),
        (0.215, 0.155),
        (0.272, 0.25),
        (0.312, 0.38),
        (0.338, 0.52),
        (0.352, 0.66),
        (0.355, 0.76),
    ],
    np.float32,
)
MEDIASTINUM = np.array(
    [(0.075, 0.112), (0.052, 0.17), (0.042, 0.29), (0.050, 0.40), (0.060, 0.52), (0.070, 0.62), (0.075, 0.69)],
    np.float32,
)
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


def draw_body(rng: np.random.Generator, child: bool) -> Body:
    """Draw a patient; the ranges span thin to stout, deep to shallow breath."""
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
