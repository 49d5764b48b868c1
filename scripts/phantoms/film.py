"""From density to the grey levels of a film: tube, exposure, scatter, noise, vignette, marker.

None of it knows the class: the exposure varies more than any sign, and mean and contrast are set, after the sign is in,
to targets that are sampled per image, so that global brightness says nothing.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from phantoms.pose import Array, blur_px

MARKERS = ("R", "L", "PORTABLE", "AP")
LOWEST, HIGHEST = 3.0, 252.0  # grey levels a film reaches


@dataclass(frozen=True)
class Film:
    """One exposure."""

    gamma: float  # of the tone curve; above 1 darkens the lungs
    mean: float  # grey levels the whole image ends at, 0-255
    deviation: float
    grain: float  # noise at the densest place, grey levels; photons are fewest there
    unsharpness: float  # focal spot and scatter, share of the image's width
    vignette: float  # share of the signal lost in the corners
    marker: str  # letters; empty for none
    marker_at: tuple[float, float]  # x, y as shares
    border: float  # width of a black collimated edge, share of the image's width
    noise_seed: int  # of the grain


def sample_film(rng: np.random.Generator) -> Film:
    """Sample an exposure."""
    left = rng.random() < 0.5
    return Film(
        gamma=rng.uniform(0.75, 1.35),
        mean=rng.uniform(88, 160),
        deviation=rng.uniform(44, 68),
        grain=rng.uniform(1.5, 5.0),
        unsharpness=rng.uniform(0.0, 0.0022),
        vignette=rng.uniform(0.0, 0.25),
        marker=str(rng.choice(MARKERS, p=(0.4, 0.4, 0.1, 0.1))) if rng.random() < 0.6 else "",
        marker_at=(rng.uniform(0.03, 0.12) if left else rng.uniform(0.78, 0.90), rng.uniform(0.07, 0.22)),
        border=rng.uniform(0.01, 0.045) if rng.random() < 0.15 else 0.0,
        noise_seed=int(rng.integers(2**32)),
    )


def expose(density: Array, film: Film) -> NDArray[np.uint8]:
    """Return the film of a density layer, uint8 (H, W)."""
    height, width = density.shape
    rng = np.random.default_rng(film.noise_seed)
    if film.unsharpness * width > 0.3:
        density = blur_px(density, film.unsharpness * width)
    down, across = (np.linspace(-1, 1, side, dtype=np.float32) ** 2 for side in (height, width))
    grey = signal = (np.clip(density, 0, 1.3) / 1.3) ** film.gamma * (1 - film.vignette / 2 * (down[:, None] + across))
    noise = cv2.GaussianBlur(rng.standard_normal((height, width), dtype=np.float32), (0, 0), 0.6) * 2
    for _ in range(2):  # twice, because clipping moves mean and deviation
        grey = (grey - grey.mean()) * np.float32(film.deviation / (grey.std() + 1e-6)) + film.mean
        grey = np.clip(grey, LOWEST, HIGHEST)
    pixels = np.asarray(np.clip(np.rint(grey + noise * film.grain * (0.35 + signal)), 0, 255), np.uint8)
    _stamp(pixels, film)
    return pixels


def _stamp(pixels: NDArray[np.uint8], film: Film) -> None:
    """Write the lead marker and the collimator's edge into the image."""
    height, width = pixels.shape
    if film.border:
        edge = max(int(film.border * width), 1)
        for band in (pixels[:edge], pixels[-edge:], pixels[:, :edge], pixels[:, -edge:]):
            band[:] = int(LOWEST)
    if film.marker:
        at = (int(film.marker_at[0] * width), int(film.marker_at[1] * height))
        size, thickness = width / (600 if len(film.marker) == 1 else 1100), max(int(width / 250), 1)
        cv2.putText(pixels, film.marker, at, cv2.FONT_HERSHEY_SIMPLEX, size, HIGHEST, thickness, cv2.LINE_AA)
