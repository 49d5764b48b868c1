from fractions import Fraction

import cv2
import numpy as np
import pytest

from cxrflow.data.preprocessing import resize_gray
from cxrflow.data.shrinking import area_weights, shrink_exactly

EXACT = [  # height, width, side after
    (1024, 1024, 224),
    (1024, 1024, 384),
    (1024, 1024, 320),
    (1024, 1024, 96),
    (512, 512, 224),
    (256, 256, 224),
    (256, 256, 96),
    (1024, 512, 224),
    (256, 1024, 224),
    (448, 1024, 224),  # a whole factor downwards
    (224, 256, 224),  # nothing to do downwards
]
NOT_EXACT = [
    (299, 299, 224),
    (1024, 1024, 256),  # a whole factor: cv2 has its own way
    (1024, 1024, 225),
    (1024, 1024, 288),  # nine averages
    (1024, 1023, 224),
    (224, 224, 224),
    (128, 128, 224),
]


def pictures(height: int, width: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(height + width)
    return {
        "noise": random.integers(0, 256, (height, width), dtype=np.uint8),
        "two neighbours": random.integers(100, 102, (height, width), dtype=np.uint8),  # many halves to round
        "black and white": random.integers(0, 2, (height, width), dtype=np.uint8) * np.uint8(255),
        "white": np.full((height, width), 255, np.uint8),
        "ramp": np.broadcast_to(np.linspace(0, 255, width).astype(np.uint8), (height, width)).copy(),
        "upside down": random.integers(0, 256, (height, width), dtype=np.uint8)[::-1],
    }


@pytest.mark.parametrize(("height", "width", "size_px"), EXACT)
def test_the_pixels_are_those_of_cv2(height, width, size_px):
    for name, gray in pictures(height, width).items():
        expected = cv2.resize(gray, (size_px, size_px), interpolation=cv2.INTER_AREA)
        shrunk = shrink_exactly(gray, size_px)
        assert shrunk is not None
        assert shrunk.dtype == np.uint8
        np.testing.assert_array_equal(shrunk, expected, err_msg=name)
        np.testing.assert_array_equal(resize_gray(gray, size_px), expected, err_msg=name)


@pytest.mark.parametrize(("height", "width", "size_px"), NOT_EXACT)
def test_other_sizes_are_left_to_cv2(height, width, size_px):
    assert shrink_exactly(np.zeros((height, width), np.uint8), size_px) is None


@pytest.mark.parametrize(("before_px", "after_px"), [(1024, 224), (1024, 320), (256, 224), (448, 224), (512, 96)])
def test_the_weights_are_areas_without_any_rounding(before_px, after_px):
    weights = area_weights(before_px, after_px)
    averages, pixels = weights.shape
    side = Fraction(before_px, after_px)
    assert averages * side == pixels
    for j in range(averages):
        for i in range(pixels):
            overlap = max(Fraction(0), min(i + 1, (j + 1) * side) - max(i, j * side))
            assert Fraction(float(weights[j, i])) == overlap / side


def test_the_sums_fit_in_float32():
    """The longest pattern that is allowed in both directions has sums beyond 24 bits: refused as a whole."""
    tall = area_weights(2**12, 8 * 3)
    assert tall is not None
    assert shrink_exactly(np.zeros((2**12, 2**12), np.uint8), 8 * 3) is None
