import numpy as np
import pytest

from phantoms.body import ellipse, ribbon, spline
from phantoms.pose import Pose, blur_px, smooth_noise, smoothstep

POSE = Pose(200, 160, 160.0, 200.0, 0.0, (0.0, 0.0), (0.0, 0.0, 0.0, 0.0))
TURNED = Pose(200, 200, 190.0, 210.0, 0.06, (0.02, -0.01), (0.0, 0.0, 0.0, 0.0))


def test_grid_and_points_are_inverse_to_each_other() -> None:
    x, y = TURNED.chest_grid()
    pixels = TURNED.to_pixels(np.array([[x[30, 70], y[30, 70]], [x[150, 20], y[150, 20]]], np.float32))
    np.testing.assert_allclose(pixels, [(70.5, 30.5), (20.5, 150.5)], atol=1e-2)


def test_a_filled_ellipse_has_its_area_where_it_was_asked_for() -> None:
    layer = POSE.fill(ellipse(0.25, 0.75, 0.10, 0.15))
    assert layer.sum() == pytest.approx(np.pi * 16 * 30, rel=0.10)
    rows, columns = np.nonzero(layer > 0.5)
    assert (columns.mean(), rows.mean()) == pytest.approx((40, 150), abs=1.0)


def test_outlines_that_overlap_leave_no_hole() -> None:
    canvas = POSE.canvas()
    POSE.paint(canvas, np.stack([ellipse(0.4, 0.5, 0.2, 0.2), ellipse(0.5, 0.5, 0.2, 0.2)]))
    assert canvas[100, 72] == 255


@pytest.mark.parametrize("closed", [False, True])
def test_a_spline_passes_through_its_points(closed: bool) -> None:
    control = np.array([(0, 0), (1, 0.5), (1.5, 2), (0.2, 1.8)], np.float32)
    curve = spline(control, closed)
    distance = np.linalg.norm(curve[:, None] - control[None], axis=2).min(axis=0)
    np.testing.assert_allclose(distance, 0, atol=1e-6)
    np.testing.assert_array_equal(spline(np.stack([control, control]), closed)[1], curve)


def test_a_ribbon_is_as_wide_as_asked_along_a_diagonal() -> None:
    line = np.linspace([0.2, 0.2], [0.8, 0.8], 9).astype(np.float32)
    outline = ribbon(line, 0.1)
    np.testing.assert_allclose(np.linalg.norm(outline[:9] - outline[9:][::-1], axis=1), 0.1, rtol=1e-5)


@pytest.mark.parametrize("sigma", [1.0, 9.0])
def test_a_blur_moves_nothing_and_loses_nothing(sigma: float) -> None:
    layer = np.zeros((120, 120), np.float32)
    layer[52:68, 32:48] = 1000 / 16**2
    blurred = blur_px(layer, sigma)
    assert blurred.sum() == pytest.approx(1000, rel=0.03)
    assert np.average(np.arange(120), weights=blurred.sum(axis=0)) == pytest.approx(39.5, abs=0.5)


def test_noise_has_features_of_its_cell_and_follows_the_generator() -> None:
    coarse, fine = (smooth_noise(np.random.default_rng(1), TURNED, cell) for cell in (0.2, 0.03))
    roughness = [np.abs(np.diff(layer, axis=0)).mean() / layer.std() for layer in (coarse, fine)]
    assert roughness[1] > 3 * roughness[0]
    np.testing.assert_array_equal(coarse, smooth_noise(np.random.default_rng(1), TURNED, 0.2))


def test_smoothstep_can_fall() -> None:
    np.testing.assert_allclose(smoothstep(np.array([0.0, 0.5, 1.0], np.float32), 1.0, 0.0), [1, 0.5, 0])
