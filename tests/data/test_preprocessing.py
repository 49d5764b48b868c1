import cv2
import numpy as np
import pytest

from cxrflow.config.settings import PreprocessSettings
from cxrflow.data.preprocessing import adjust_gamma, blur, equalize, equalize_parts, preprocess_image, resize_gray
from tests.data.toy import draw


@pytest.mark.parametrize("shape", [(300, 300), (127, 384), (16, 16), (1, 500), (64, 64), (1000, 20)])
@pytest.mark.parametrize("size_px", [16, 64, 256])
def test_any_shape_becomes_the_square(shape, size_px):
    gray = np.resize(draw(3), shape)
    image = preprocess_image(gray, PreprocessSettings(size_px=size_px))
    assert image.shape == (size_px, size_px)
    assert image.dtype == np.uint8


def test_shrinking_averages_areas():
    checkers = np.indices((64, 64)).sum(0) % 2 * 200
    np.testing.assert_array_equal(resize_gray(checkers.astype(np.uint8), 16), np.full((16, 16), 100))


def test_equalizing_spreads_a_flat_image():
    flat = (draw(5, size=64) // 8 + 100).astype(np.uint8)  # 100-131
    levels = equalize(flat)
    assert (levels.min(), levels.max()) == (0, 255)
    assert (np.argsort(np.unique(flat)) == np.argsort(np.unique(levels))).all()  # the order of grey levels is kept


def test_blur_of_5_px_is_the_binomial_kernel():
    point = np.zeros((9, 9), np.uint8)
    point[4, 4] = 255
    kernel = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256
    np.testing.assert_array_equal(blur(point, 5)[2:7, 2:7], np.round(kernel * 255))


def test_clahe_of_one_part_without_a_limit_is_histogram_equalization():
    film = (draw(5, size=64) // 2 + 60).astype(np.uint8)
    whole, parted = equalize(film).astype(int), equalize_parts(film, 1e6, 1).astype(int)
    assert abs(whole - parted).max() <= 255 * np.bincount(film.ravel()).max() / film.size + 1  # where it counts from


def test_clahe_raises_the_contrast_of_a_dark_corner_which_its_limit_holds_back():
    rng = np.random.default_rng(0)
    film = np.full((64, 64), 200, np.uint8) + rng.integers(0, 40, (64, 64), dtype=np.uint8)
    film[:16, :16] = rng.integers(20, 24, (16, 16))
    corner = np.s_[2:6, 2:6]
    spreads = [np.ptp(each[corner]) for each in (film, equalize_parts(film, 2, 8), equalize_parts(film, 30, 8))]
    assert spreads[0] < spreads[1] < spreads[2]
    assert np.ptp(equalize_parts(film, 30, 1)[corner]) < spreads[2], "one part: as the whole image"


def test_gamma_is_a_power_of_the_share_of_white():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(adjust_gamma(levels, 1.0), levels)
    bright, dark = adjust_gamma(levels, 0.5), adjust_gamma(levels, 2.0)
    assert (bright[4, 0], dark[8, 0]) == (round(255 * (64 / 255) ** 0.5), round(255 * (128 / 255) ** 2))


def test_every_step_can_be_switched_off():
    gray = draw(6, size=32)
    off = PreprocessSettings(size_px=32, equalize="none", blur_px=0)
    np.testing.assert_array_equal(preprocess_image(gray, off), gray)
    only_blur = PreprocessSettings(size_px=32, equalize="none")
    np.testing.assert_array_equal(preprocess_image(gray, only_blur), blur(gray, 5))
    only_equalized = PreprocessSettings(size_px=32, blur_px=0)
    np.testing.assert_array_equal(preprocess_image(gray, only_equalized), equalize(gray))


def test_the_order_is_resize_equalize_gamma_blur():
    gray = draw(7, size=50)
    expected = blur(adjust_gamma(equalize(resize_gray(gray, 20)), 0.5), 5)
    np.testing.assert_array_equal(preprocess_image(gray, PreprocessSettings(size_px=20, gamma=0.5)), expected)
    parts = PreprocessSettings(size_px=20, equalize="clahe", clahe_clip=3, clahe_tiles=4, blur_px=0)
    np.testing.assert_array_equal(preprocess_image(gray, parts), equalize_parts(resize_gray(gray, 20), 3, 4))


def test_the_number_of_opencv_threads_changes_nothing():
    gray = draw(8, size=700)
    threads = cv2.getNumThreads()
    results = []
    for n in (1, 2):
        cv2.setNumThreads(n)
        results.append(preprocess_image(gray, PreprocessSettings(size_px=224)))
    cv2.setNumThreads(threads)
    np.testing.assert_array_equal(*results)
