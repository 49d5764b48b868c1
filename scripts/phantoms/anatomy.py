"""Build a healthy chest as layers of density: 0 is air outside the body, black on the film, about 1 the densest bone.

Signs change the layer `lung` (signs.py); `compose` lays heart, great vessels and bones over it.
"""

from dataclasses import dataclass

import numpy as np

from phantoms.body import LEFT, MIDLINE, RIGHT, SIDES, Body, ellipse, mirror, ribbon, spline, to_film
from phantoms.pose import Array, Mask, Pose, smooth_noise, smoothstep

AIR_IN_LUNG = 0.16  # density of a lung's field without its vessels
VESSEL_DENSITY = (0.12, 0.25)  # of the largest vessels: some healthy lungs show more of them than others
SOFT_TISSUE = 0.46
HEART_DENSITY = 0.70
ABDOMEN_DENSITY = 0.74
RIBS = 9  # pairs within the film
BRANCHES = 8  # vessels that leave each hilum
VESSEL_LEVELS = (190, 150, 120, 90)  # grey levels of the orders of branching


@dataclass(frozen=True)
class Chest:
    """The layers of one chest, each float32 (H, W)."""

    pose: Pose
    body: Body
    x: Array  # chest units of every pixel
    y: Array
    fields: tuple[
        Array, Array
    ]  # right and left lung, 0-1, from the wall down to the diaphragm, the heart not taken off
    heart: Array  # 0-1, the heart and the edge of the mediastinum
    lung: Array  # density of the lung tissue; counts where a field is
    vessels: Array  # 0-1, the lung vessels alone
    outside: Array  # density of everything around the lungs
    bones: Array  # added on top

    def field(self, side: int) -> Array:
        """Return one side's lung field."""
        return self.fields[SIDES.index(side)]

    def visible(self, side: int) -> Mask:
        """Return where a lung is seen free of the heart."""
        return (self.field(side) > 0.5) & (self.heart < 0.5)

    @property
    def lungs(self) -> Mask:
        """Where both lungs are seen."""
        return self.visible(RIGHT) | self.visible(LEFT)


def build_chest(body: Body, pose: Pose, rng: np.random.Generator) -> Chest:
    """Build the healthy chest of a patient; `rng` is the image's own, the patient's shape is in `body`."""
    x, y = pose.chest_grid()
    right, left = (pose.fill(body.lung_outline(side), 0.004) for side in SIDES)
    vessels = _make_vessels(body, pose)
    mottle = smooth_noise(rng, pose, 0.035) * 0.010 + smooth_noise(rng, pose, 0.16) * rng.uniform(0.010, 0.030)
    veil = 0.08 * smoothstep(y, 0.30, 0.80) * (0.4 + body.stout)  # more soft tissue in front of and behind the bases
    lung = AIR_IN_LUNG + 0.05 * body.stout + mottle + veil + rng.uniform(*VESSEL_DENSITY) * vessels
    if body.female:
        lung = lung + _make_breasts(body, pose, y, rng)
    heart, outside, bones = _make_heart(body, pose), _make_outside(body, pose, y, rng), _make_bones(body, pose)
    return Chest(pose, body, x, y, (right, left), heart, lung.astype(np.float32), vessels, outside, bones)


def compose(chest: Chest) -> Array:
    """Return the density of the whole chest, float32 (H, W), about 0-1.2."""
    field = np.maximum(chest.fields[0], chest.fields[1])
    density = chest.outside + field * (chest.lung - chest.outside)
    behind_heart = HEART_DENSITY + 0.25 * np.minimum(chest.lung - AIR_IN_LUNG, 0.15) * field
    density = density + chest.heart * (np.maximum(behind_heart, density) - density)
    seen = 1 - 0.55 * smoothstep(density, 0.45, 0.75)  # bone stands out less against dense tissue
    return np.asarray(density + _make_midline(chest) + chest.bones * seen, np.float32)


def _make_outside(body: Body, pose: Pose, y: Array, rng: np.random.Generator) -> Array:
    """Return soft tissue, arms, abdomen and stomach bubble."""
    flank = 0.055 + 0.035 * body.stout
    edge = body.wall_distance(np.array([0.2, 0.35, 0.5, 0.65], np.float32)) + flank
    shoulder = 0.41 + 0.04 * body.stout
    outline = [(0.075, -0.3), (0.085, 0.0), (0.11, 0.055), (0.25, 0.085)]  # the neck, then the arm and the flank
    outline += [(shoulder, 0.13), (shoulder + 0.05, 0.22), (edge[1] + 0.04, 0.33)]
    outline += [(edge[2], 0.5), (edge[3], 0.68), (edge[3] + 0.01, 0.9), (edge[3] + 0.02, 1.6)]
    right, left = mirror(spline(outline))
    torso = pose.fill(np.concatenate([left, right[::-1]]), 0.002)
    thick = torso * (0.30 + 0.70 * pose.blur(torso, 0.05))
    tissue = SOFT_TISSUE * thick * (1 + 0.06 * smooth_noise(rng, pose, 0.25))
    tissue = np.maximum(tissue, _make_arms(body, pose))
    tissue = tissue + _make_abdomen(body, pose) * np.maximum(ABDOMEN_DENSITY - tissue, 0) * thick
    return np.asarray(tissue - _make_gas(body, pose, rng), np.float32)


def _make_arms(body: Body, pose: Pose) -> Array:
    """Return upper arms: beside the chest in an adult, raised in a child."""
    beside, raised = [(0.41, 0.19), (0.49, 0.34), (0.56, 0.60)], [(0.40, 0.16), (0.50, 0.08), (0.62, -0.05)]
    arms = mirror(spline(raised if body.child else beside))
    flesh, bone = pose.fill(ribbon(arms, 0.10 + 0.05 * body.stout), 0.006), pose.fill(ribbon(arms, 0.038), 0.003)
    return flesh * 0.36 + bone * 0.22


def _make_abdomen(body: Body, pose: Pose) -> Array:
    """Return the abdomen, 0-1; it fades in above the diaphragm, whose sharp edge is the lung field's, laid over it."""
    lift = np.array([0, 0.05], np.float32)
    right, left = (to_film(spline(body.base_curve(side)), side) - lift for side in SIDES)
    low = [(1.2, float(left[0, 1]) + 0.03), (1.2, 2.0), (-0.2, 2.0), (-0.2, float(right[0, 1]) + 0.03)]
    return pose.fill(np.concatenate([right, left[::-1], np.array(low, np.float32)]), 0.035)


def _make_gas(body: Body, pose: Pose, rng: np.random.Generator) -> Array:
    """Return what the stomach's air takes off the density."""
    if rng.random() < 0.35:
        return np.zeros((pose.height_px, pose.width_px), np.float32)
    lobes = 1 + 0.2 * np.sin(np.linspace(0, 2 * np.pi, 40) * 3 + rng.uniform(0, 6))
    y, x = body.dome(LEFT) + rng.uniform(0.035, 0.06) + 0.03, MIDLINE + rng.uniform(0.12, 0.22)
    bubble = ellipse(x, y, rng.uniform(0.03, 0.07), rng.uniform(0.02, 0.04), lobes=lobes)
    return pose.fill(bubble, 0.006) * rng.uniform(0.15, 0.35)


def _make_heart(body: Body, pose: Pose) -> Array:
    """Return the heart, aortic knob and the edges of the mediastinum, 0-1."""
    base, width, top = max(body.dome_y), body.heart_size, body.chest_height
    upper, apex = 0.062 if body.child else 0.046, 0.02 * body.heart_tilt
    left = [(0.035, 0.08), (upper, 0.17), (upper + 0.018, 0.255 * top), (upper + 0.008, 0.325 * top)]  # aortic knob
    left += [(0.078 * width, 0.39 * top), (0.130 * width, 0.47 * top), ((0.178 + apex) * width, base - 0.125 + apex)]
    left += [((0.205 + apex) * width, base - 0.06), ((0.195 + apex) * width, base - 0.005)]
    left += [(0.15 * width, base + 0.05), (0.04, base + 0.08)]
    right = [(0.04, 0.08), (upper - 0.004, 0.18), (0.040, 0.30 * top), (0.052, 0.40 * top), (0.078 * width, 0.50 * top)]
    right += [(0.098 * width, base - 0.10), (0.092 * width, base - 0.03), (0.06, base + 0.05)]
    return pose.fill(np.concatenate([to_film(spline(left), LEFT), to_film(spline(right), RIGHT)[::-1]]), 0.006)


def _make_midline(chest: Chest) -> Array:
    """Return what the spine adds and the windpipe takes off."""
    pose = chest.pose
    spine = pose.fill(ribbon(spline([(MIDLINE, -0.3), (MIDLINE, 0.5), (MIDLINE, 1.5)]), 0.075), 0.010)
    bodies = 0.7 + 0.3 * np.sin(chest.y * np.float32(2 * np.pi / 0.052)) * np.float32(0.6)
    trachea = np.array([(MIDLINE, -0.1), (MIDLINE - 0.004, 0.15), (MIDLINE - 0.012, 0.31)], np.float32)
    bronchi = mirror(np.array([(0.006, 0.30), (0.05, 0.365), (0.08, 0.40)], np.float32))
    airway = pose.fill([ribbon(trachea, 0.034), *ribbon(bronchi, 0.020)], 0.004)
    return np.asarray(spine * bodies * np.float32(0.10) - airway * 0.13)


def _make_breasts(body: Body, pose: Pose, y: Array, rng: np.random.Generator) -> Array:
    """Return the breast shadows, denser towards their lower edge."""
    low = rng.uniform(0.58, 0.70)
    centres = [MIDLINE + side * 0.235 * body.chest_width for side in SIDES]
    shade = pose.fill([ellipse(x, low - 0.09, 0.135, 0.115) for x in centres], 0.012)
    return np.asarray(shade * smoothstep(y, low - 0.25, low) * np.float32(0.04 + 0.06 * body.stout), np.float32)


def _make_vessels(body: Body, pose: Pose) -> Array:
    """Return the hila and the branching lung vessels, 0-1, thick at the hilum and faint at the wall."""
    rng = np.random.default_rng(body.vessels_seed)
    canvas = pose.canvas()
    sides = np.repeat(np.array(SIDES, np.float32), BRANCHES)
    hila = np.stack([np.full(2 * BRANCHES, 0.095), np.where(sides < 0, 0.40, 0.375) * body.chest_height], axis=1)
    angles = np.tile(np.linspace(-1.3, 1.4, BRANCHES), 2) + rng.normal(0, 0.12, 2 * BRANCHES)
    for side, (x, y) in zip(sides[::3], hila[::3] + rng.normal(0, 0.014, hila[::3].shape), strict=True):
        pose.paint(canvas, to_film(ellipse(x, y, 0.017, 0.030, 0.4), side), VESSEL_LEVELS[1])
    orders = _grow_vessels(rng, sides, hila, angles)
    for outlines, level in reversed(list(zip(orders, VESSEL_LEVELS, strict=True))):  # the densest on top
        pose.paint(canvas, outlines, level)
    return pose.blur(canvas / np.float32(255), 0.0022)


def _grow_vessels(rng: np.random.Generator, sides: Array, starts: Array, angles: Array) -> list[Array]:
    """Grow vessels from their starts (n, 2) in half coordinates, each forking into two; return outlines per order."""
    t = np.linspace(0, 1, 6, dtype=np.float32)
    orders = []
    for order in range(len(VESSEL_LEVELS)):
        count = len(starts)
        course = angles[:, None] + rng.normal(0, 0.25, (count, 1)) * t
        step = rng.uniform(0.06, 0.10, (count, 1)) * 0.88**order / (len(t) - 1) * (t > 0)
        steps = np.stack([np.cos(course) * step, np.sin(course) * step], axis=-1)
        lines = starts[:, None, :] + np.cumsum(steps, axis=1)
        width = np.linspace(0.012, 0.007, len(t), dtype=np.float32) * 0.62**order
        orders.append(to_film(ribbon(lines, width), sides[:, None]))
        starts, sides = np.repeat(lines[:, -1], 2, axis=0), np.repeat(sides, 2)
        angles = np.repeat(angles, 2) + np.tile([-0.34, 0.34], count) + rng.normal(0, 0.15, 2 * count)
    return orders


def _make_bones(body: Body, pose: Pose) -> Array:
    """Return ribs, clavicles and shoulder blades."""
    back, front, others = pose.canvas(), pose.canvas(), pose.canvas()
    rear, fore = _rib_lines(body)
    clavicle = spline([(0.035, 0.165), (0.13, 0.135), (0.25, 0.105), (0.36, 0.10)])
    blade = spline([(0.40, 0.14), (0.335, 0.17), (0.31, 0.30), (0.345, 0.42), (0.385, 0.30), (0.40, 0.19)])
    pose.paint(front, mirror(ribbon(fore, 0.024)), 120)
    pose.paint(back, mirror(ribbon(rear, 0.021)))
    pose.paint(back, mirror(ribbon(rear, 0.011)), 175)  # the shaft is less dense than its rims
    pose.paint(others, mirror(ribbon(clavicle, np.linspace(0.034, 0.022, len(clavicle)))))
    pose.paint(others, mirror(ribbon(blade, 0.012)), 130)
    ribs = back * np.float32(0.13 / 255) + front * np.float32(0.08 / 255)
    return pose.blur(ribs + others * np.float32(0.16 / 255), 0.0022)


def _rib_lines(body: Body) -> tuple[Array, Array]:
    """Return the centre lines of the ribs' rear and front parts, each (RIBS, n, 2) in half coordinates."""
    number = np.arange(RIBS, dtype=np.float32)
    start = 0.095 + number * 0.070 * body.chest_height
    fall = body.rib_slope * (0.7 + 0.07 * number)
    turn = start + fall + 0.035
    wall = body.wall_distance(turn)
    low = turn + 0.06 + 0.035 * number / (RIBS - 1)
    near, bend = np.full_like(wall, 0.045), (wall + 0.004, turn)
    rear = [(near, start), (near + 0.35 * (wall - near), start - 0.006 + 0.15 * fall)]
    rear += [(0.78 * wall, start + 0.60 * fall), bend]
    fore = [bend, (0.93 * wall, turn + 0.5 * (low - turn)), (0.72 * wall, low), (0.45 * wall, low + 0.02)]
    return spline(np.array(rear).transpose(2, 0, 1)), spline(np.array(fore).transpose(2, 0, 1))
