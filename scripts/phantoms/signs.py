"""The signs of the classes, each added to the lung tissue of a healthy chest together with its true mask.

What a sign looks like follows Fleischner Society, "Glossary of terms for thoracic imaging", Radiology 2008;246:697-722
(https://doi.org/10.1148/radiol.2462070712). A sign takes a chest and a generator and returns the chest with the sign
and the lesion's mask; it never darkens or brightens the rest. To add one: a function, and its name in `SIGNS`.
"""

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np

from phantoms.anatomy import AIR_IN_LUNG, Chest
from phantoms.body import APEX_Y, LEFT, MIDLINE, RIGHT, SIDES, ellipse, ribbon, spline, to_film
from phantoms.pose import Array, Mask, smooth_noise, smoothstep

WithSign = tuple[Chest, Mask]
Sign = Callable[[Chest, np.random.Generator], WithSign]

FLUID_DENSITY = 0.68
SEEN_SHARE = 0.25  # a lesion reaches to where it adds this share of the most it adds anywhere


def add_ground_glass(chest: Chest, rng: np.random.Generator) -> WithSign:
    """Patchy haze of both lungs, at the periphery and low; vessels stay visible through it."""
    haze = np.zeros_like(chest.lung)
    for side in SIDES:
        share = rng.uniform(0.6, 1.0)  # one lung is often worse
        rim = smoothstep(_wall_depth(chest, side), 0.13, 0.02) * smoothstep(chest.y, 0.22, 0.42)
        for _ in range(int(rng.integers(2, 4))):
            column, row = _choose_pixel(rng, chest.visible(side) & (rim > 0.35))
            haze = np.maximum(haze, _cloud(chest, rng, column, row, (0.055, 0.100)) * share * (0.35 + 0.65 * rim))
    grain = 1 + 0.35 * smooth_noise(rng, chest.pose, 0.022)
    return _add(chest, haze * grain * np.float32(rng.uniform(0.13, 0.24)), haze)


def add_interstitial(chest: Chest, rng: np.random.Generator) -> WithSign:
    """Lines and a net around both hila, running out and down: thickened bronchial walls and septa."""
    reach = np.zeros_like(chest.lung)
    streaks: list[Array] = []
    for side in SIDES:
        across = (chest.x - np.float32(MIDLINE + side * rng.uniform(0.13, 0.18))) / np.float32(0.19)
        down = (chest.y - np.float32(rng.uniform(0.42, 0.50) * chest.body.chest_height)) / np.float32(0.28)
        distance = np.hypot(across, down) + 0.12 * smooth_noise(rng, chest.pose, 0.08)
        reach = np.maximum(reach, smoothstep(distance, 1.15, 0.30))
        angles = np.linspace(-1.2, 1.45, 9) + rng.normal(0, 0.10, 9)
        streaks += [_streak(chest, rng, side, float(angle)) for angle in angles]
    net = _net(chest, rng, 0.075) + _net(chest, rng, 0.045)
    pattern = 0.05 + 0.13 * net + 0.13 * chest.pose.fill(streaks, 0.003)
    return _add(chest, reach * pattern * np.float32(rng.uniform(0.35, 1.0)), reach)


def add_consolidation(chest: Chest, rng: np.random.Generator) -> WithSign:
    """One lobe filled: dense, cut off sharply at the fissure, with air-filled bronchi showing dark in it."""
    side, upper = RIGHT if rng.random() < 0.6 else LEFT, rng.random() < 0.4
    fissure = (0.43 if upper else 0.50) * chest.body.chest_height + rng.normal(0, 0.015)
    outward = np.abs(chest.x - MIDLINE)
    below = chest.y - np.float32(fissure) - np.float32(rng.normal(0.1, 0.12)) * (outward - np.float32(0.2))
    sharp = smoothstep(below, 0.006, -0.006) if upper else smoothstep(below, -0.006, 0.006)
    reach = rng.uniform(0.12, 0.26)
    faded = below + np.float32(reach) if upper else np.float32(reach) - below
    lobe = sharp * smoothstep(faded + 0.05 * smooth_noise(rng, chest.pose, 0.09), -0.05, 0.06)
    lobe = lobe * (chest.field(side) > 0.02) * (0.92 + 0.10 * smooth_noise(rng, chest.pose, 0.06))
    bronchi = smoothstep(chest.vessels, 0.45, 0.75) * rng.uniform(0.05, 0.14)
    filled = np.maximum(rng.uniform(0.38, 0.62) - bronchi, chest.lung)
    return _add(chest, np.clip(lobe, 0, 1) * (filled - chest.lung), lobe)


def add_infiltration(chest: Chest, rng: np.random.Generator) -> WithSign:
    """An ill-defined, blotchy shadow in the inner middle or lower zone of one lung, sometimes of both."""
    sides = SIDES if rng.random() < 0.3 else (int(rng.choice(SIDES)),)
    shadow = np.zeros_like(chest.lung)
    for side in sides:
        zone = (_wall_depth(chest, side) > 0.09) & (chest.y > 0.36) & chest.visible(side)
        column, row = _choose_pixel(rng, zone)
        for _ in range(3):
            jump = rng.normal(0, 0.038 * chest.pose.unit_px, 2)
            shadow = np.maximum(shadow, _cloud(chest, rng, column + jump[0], row + jump[1], (0.060, 0.100)))
    blotches = 0.85 + 0.40 * smooth_noise(rng, chest.pose, 0.05)
    return _add(chest, shadow * np.clip(blotches, 0.35, 1.5) * rng.uniform(0.20, 0.30), shadow)


def add_effusion(chest: Chest, rng: np.random.Generator) -> WithSign:
    """Fluid over the diaphragm of one side, at times both: its upper edge climbs the chest wall as a meniscus."""
    sides = SIDES if rng.random() < 0.25 else (int(rng.choice(SIDES)),)
    fluid = np.zeros_like(chest.lung)
    for side in sides:
        level = chest.body.dome(side) + 0.07 - rng.uniform(0.07, 0.25)
        depth = _wall_depth(chest, side)
        climb = rng.uniform(0.07, 0.13) * np.exp(-np.clip(depth, 0, None) / 0.035)
        inner = 0.03 * np.exp(-np.abs(chest.x - np.float32(MIDLINE + side * 0.08)) / np.float32(0.05))
        edge = chest.y - np.float32(level) + climb + inner
        fluid = np.maximum(fluid, smoothstep(edge, -0.012, 0.022) * (chest.field(side) > 0.02))
    return _add(chest, fluid * np.maximum(FLUID_DENSITY - chest.lung, 0), fluid)


def add_atelectasis(chest: Chest, rng: np.random.Generator) -> WithSign:
    """Plate-like collapse: one to three straight dense bands, nearly level, in the lower zones."""
    bands = []
    for _ in range(int(rng.integers(1, 4))):
        side = int(rng.choice(SIDES))
        low = chest.body.dome(side)
        zone = chest.visible(side) & (chest.y > low - 0.24) & (chest.y < low - 0.03) & (_wall_depth(chest, side) > 0.08)
        x, y = _choose_point(chest, rng, zone)
        half, tilt = rng.uniform(0.07, 0.12), rng.normal(0.0, 0.28)
        course = spline([(x - half, y + half * tilt), (x, y + rng.normal(0, 0.004)), (x + half, y - half * tilt)])
        taper = np.sin(np.linspace(0.35, np.pi - 0.35, len(course), dtype=np.float32)) ** 0.6
        bands.append(ribbon(course, taper * rng.uniform(0.020, 0.034)))
    return _add(chest, chest.pose.fill(bands, 0.004) * rng.uniform(0.30, 0.42))


def add_nodule(chest: Chest, rng: np.random.Generator) -> WithSign:
    """One or two round, well-defined shadows of 1.5 to 3 cm."""
    return _add_rounds(chest, rng, count=1 if rng.random() < 0.75 else 2, radius=(0.026, 0.042), lobulation=0.04)


def add_mass(chest: Chest, rng: np.random.Generator) -> WithSign:
    """One large lobulated shadow of more than 3 cm."""
    return _add_rounds(chest, rng, count=1, radius=(0.070, 0.115), lobulation=0.13)


def add_pneumothorax(chest: Chest, rng: np.random.Generator) -> WithSign:
    """Air between lung and chest wall, widest at the apex: a rim without vessels, bounded by the pleural line."""
    side = int(rng.choice(SIDES))
    depth = _wall_depth(chest, side)
    down = np.clip((chest.y - APEX_Y) / np.float32(0.62 * chest.body.chest_height), 0, 1)
    width = rng.uniform(0.065, 0.15) * (1 - rng.uniform(0.45, 0.8) * down) + 0.006 * smooth_noise(rng, chest.pose, 0.2)
    field = chest.field(side)
    rim = smoothstep(width - depth, -0.003, 0.003) * (field > 0.02)
    line = np.exp(-(((depth - width) / np.float32(0.0055)) ** 2)) * (field > 0.5)
    collapsed = (1 - rim) * field * np.float32(rng.uniform(0.02, 0.06))
    lung = chest.lung + rim * (AIR_IN_LUNG - 0.07 - chest.lung) + collapsed + np.float32(0.20) * line
    return dataclasses.replace(chest, lung=lung.astype(np.float32)), (rim > 0.5) & (field > 0.5)


def add_opacity(chest: Chest, rng: np.random.Generator) -> WithSign:
    """Any dense lung, as the class Lung_Opacity of COVID-19 Radiography has it: infiltration or effusion."""
    return (add_infiltration if rng.random() < 0.5 else add_effusion)(chest, rng)


SIGNS: dict[str, Sign] = {
    add.__name__.removeprefix("add_"): add
    for add in (
        add_ground_glass, add_interstitial, add_consolidation, add_infiltration, add_effusion, add_atelectasis,
        add_nodule, add_mass, add_pneumothorax, add_opacity,
    )
}  # fmt: skip


def _add(chest: Chest, density: Array, extent: Array | None = None) -> WithSign:
    """Add density to the lungs; the mask is where `extent` (by default the density) is seen, free of the heart."""
    extent = density if extent is None else extent
    seen = extent * chest.lungs
    mask = (seen > SEEN_SHARE * float(seen.max())) & chest.lungs
    return dataclasses.replace(chest, lung=(chest.lung + density).astype(np.float32)), mask


def _wall_depth(chest: Chest, side: int) -> Array:
    """Return how deep every pixel lies under a side's chest wall, apex included, in chest units; 0 outside."""
    cage = chest.pose.fill(chest.body.cage_outline(side)) > 0.5
    return _depth(chest, cage, cv2.BORDER_REPLICATE)  # the film's edge is not a wall


def _depth(chest: Chest, mask: Mask, border: int) -> Array:
    """Return how deep every pixel lies inside a mask, in chest units; `border` is what continues it beyond the film."""
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, border)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    return np.asarray(depth / np.float32(chest.pose.unit_px), np.float32)


def _choose_pixel(rng: np.random.Generator, allowed: Mask) -> tuple[int, int]:
    """Sample a (column, row) where `allowed`; the middle of the film where nothing is."""
    places = np.flatnonzero(allowed)
    flat = int(places[rng.integers(len(places))]) if len(places) else allowed.size // 2
    return flat % allowed.shape[1], flat // allowed.shape[1]


def _choose_point(chest: Chest, rng: np.random.Generator, allowed: Mask) -> tuple[float, float]:
    """Sample a point where `allowed`, in chest units."""
    column, row = _choose_pixel(rng, allowed)
    return float(chest.x[row, column]), float(chest.y[row, column])


def _cloud(chest: Chest, rng: np.random.Generator, column: float, row: float, radius: tuple[float, float]) -> Array:
    """Return a soft blot 0-1 around a pixel, its edge broken up by noise."""
    unit = chest.pose.unit_px
    rows = (np.arange(chest.lung.shape[0], dtype=np.float32)[:, None] - np.float32(row)) / np.float32(unit)
    columns = (np.arange(chest.lung.shape[1], dtype=np.float32)[None, :] - np.float32(column)) / np.float32(unit)
    size_x, size_y = rng.uniform(*radius, 2)
    distance = np.sqrt((columns / np.float32(size_x)) ** 2 + (rows / np.float32(size_y)) ** 2)
    return smoothstep(distance + 0.28 * smooth_noise(rng, chest.pose, 0.05), 1.35, 0.45)


def _net(chest: Chest, rng: np.random.Generator, cell: float) -> Array:
    """Return a net of bright lines 0-1 with meshes of about `cell` chest units: the zero crossings of smooth noise."""
    return np.clip(1 - np.abs(smooth_noise(rng, chest.pose, cell)) / 0.38, 0, 1)


def _streak(chest: Chest, rng: np.random.Generator, side: int, angle: float) -> Array:
    """Return the outline of one thickened bronchovascular bundle, running out from the hilum."""
    course = angle + rng.normal(0, 0.3) * np.linspace(0, 1, 8, dtype=np.float32)
    steps = np.stack([np.cos(course), np.sin(course)], axis=1) * (rng.uniform(0.14, 0.24) / 8)
    line = np.array([0.09, 0.39 * chest.body.chest_height], np.float32) + np.cumsum(steps, axis=0)
    return to_film(ribbon(line, np.linspace(0.020, 0.010, 8)), side)


def _add_rounds(
    chest: Chest, rng: np.random.Generator, count: int, radius: tuple[float, float], lobulation: float
) -> WithSign:
    """Add round shadows wholly inside the visible lungs."""
    rounds = []
    for _ in range(count):
        size, room = rng.uniform(*radius), _depth(chest, chest.lungs, cv2.BORDER_CONSTANT)
        x, y = _choose_point(chest, rng, room > min(size, 0.95 * float(room.max())))
        turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        waves = [rng.normal(0, 1.2) / k * np.sin(k * turn + rng.uniform(0, 6.3)) for k in (2, 3, 4, 7)]
        rounds.append(ellipse(x, y, size, size, lobes=1 + lobulation * sum(waves)))
    shadow = chest.pose.fill(rounds, 0.005)
    solid = AIR_IN_LUNG + rng.uniform(0.24, 0.38) + 0.45 * (chest.lung - AIR_IN_LUNG)
    return _add(chest, shadow * np.maximum(solid - chest.lung, 0.08), shadow)
