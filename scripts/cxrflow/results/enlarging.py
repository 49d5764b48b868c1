"""A map of cells at the size of its image; imports no torch, for the delivered tool shows maps too."""

import cv2
import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float32]  # float32 (H, W), 0-1
LEAST_PEAK = 1e-7  # as in pytorch-grad-cam: what a map is divided by where it is 0 everywhere


def enlarge(cells: NDArray[np.float32], size: tuple[int, int]) -> Map:
    """Return a map of cells at an image's size, (width, height) in px, as both engines do: linear between centres."""
    return _stretch(np.asarray(cv2.resize(_stretch(cells), size), np.float32))


def _stretch(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    cells = cells - cells.min()
    return np.asarray(cells / (LEAST_PEAK + cells.max()), np.float32)
