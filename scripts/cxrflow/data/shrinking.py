"""Shrink by averaging areas with two matrix products, where they give exactly what cv2's INTER_AREA gives.

cv2 adds one pixel after the other and spends 2 ms on 1024 -> 224 px, half of what decoding takes. From
1024 to 224 px the same 7 averages of 32 pixels come again and again, with weights that are multiples of 1/32. Float32
has 24 bits: 8 for a pixel, 5 for the weights of each direction, so no sum is ever rounded and their order cannot
matter. The one rounding is the last one, half to even as in cv2. Pure functions on arrays.
"""

import functools
from math import gcd

import numpy as np
from numpy.typing import NDArray

FLOAT32_BITS, PIXEL_BITS = 24, 8
MOST_AVERAGES = 8  # in one pattern; the products grow with it, and with more of them cv2 is as fast


def shrink_exactly(gray: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8] | None:
    """Shrink uint8 (H, W) to (size_px, size_px), or return None where cv2 may differ or is as fast."""
    height, width = gray.shape
    down, across = area_weights(height, size_px), area_weights(width, size_px)
    if down is None or across is None or len(down) == len(across) == 1:  # cv2 has whole factors of its own
        return None
    if PIXEL_BITS + count_bits(down) + count_bits(across) > FLOAT32_BITS:
        return None
    pixels = gray.astype(np.float32).reshape(-1, down.shape[1], width)
    rows = np.matmul(down, pixels).reshape(size_px // len(down), -1, across.shape[1])
    averages = np.matmul(rows, across.T).reshape(size_px, size_px)
    shrunk: NDArray[np.uint8] = np.rint(averages, out=averages).astype(np.uint8)
    return shrunk


def count_bits(weights: NDArray[np.float32]) -> int:
    """Return how many bits weights of area_weights add to a sum."""
    return int(weights.shape[1]).bit_length() - 1


@functools.cache
def area_weights(before_px: int, after_px: int) -> NDArray[np.float32] | None:
    """Return the pattern that repeats from `before_px` to `after_px`: float32 (averages, pixels), rows of sum 1.

    None where the weights are no multiples of a power of two, where the pattern is long, or where nothing shrinks.
    """
    common = gcd(before_px, after_px)
    pixels, averages = before_px // common, after_px // common
    if pixels & (pixels - 1) or averages > min(pixels, MOST_AVERAGES):
        return None
    # in units of 1 / averages of a pixel: pixel i covers [i, i + 1) * averages, average j covers [j, j + 1) * pixels
    left, begin = np.arange(pixels) * averages, np.arange(averages)[:, None] * pixels
    overlap = np.minimum(left + averages, begin + pixels) - np.maximum(left, begin)
    weights: NDArray[np.float32] = (np.maximum(overlap, 0) / pixels).astype(np.float32)
    return weights
