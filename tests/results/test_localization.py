"""What a map scores against a region, on maps whose scores are known."""

import cv2
import numpy as np
import pytest

from cxrflow.results.explaining import (
    centred_map,
    find_peak,
    hits_region,
    inside_share,
    score_map,
    summarize_rows,
)

SIZE = 32


def square(top: int, left: int, side: int) -> np.ndarray:
    """Return float32 (32, 32), 1 in a square."""
    pixels = np.zeros((SIZE, SIZE), np.float32)
    pixels[top : top + side, left : left + side] = 1
    return pixels


def score(heat: np.ndarray, region: np.ndarray, image_id: str = "a", kind: str = "lesion"):
    return score_map(heat, region, image_id=image_id, label="Mass", predicted="Nodule", kind=kind)


def test_a_map_inside_the_region_scores_1_and_hits() -> None:
    row = score(0.3 * square(6, 6, 4), square(4, 4, 8))
    assert (row.inside_share, row.hit, row.empty_map) == (1.0, 1, 0)
    assert (row.label, row.predicted, row.region) == ("Mass", "Nodule", "lesion")


def test_a_map_outside_scores_0_and_misses() -> None:
    row = score(square(20, 20, 8), square(4, 4, 8))
    assert (row.inside_share, row.hit) == (0.0, 0)


def test_a_uniform_map_scores_the_regions_share_of_the_image() -> None:
    region = square(4, 4, 8)
    row = score(np.ones((SIZE, SIZE), np.float32), region)
    assert row.inside_share == pytest.approx(64 / 1024)
    assert row.inside_share_uniform == pytest.approx(64 / 1024)


def test_half_a_map_inside_scores_a_half() -> None:
    assert inside_share(square(0, 0, 2) + square(20, 20, 2), square(0, 0, 10)) == 0.5


def test_the_centred_baseline_favours_the_middle() -> None:
    middle, corner = score(square(0, 0, 4), square(12, 12, 8)), score(square(0, 0, 4), square(0, 0, 8))
    assert middle.inside_share_centred > middle.inside_share_uniform > corner.inside_share_centred
    assert (middle.hit_centred, corner.hit_centred) == (1, 0)
    assert (middle.hit, corner.hit) == (0, 1)


def test_the_centred_map_is_symmetric_and_falls_by_its_deviation() -> None:
    heat = centred_map(101)
    np.testing.assert_allclose(heat, heat[::-1], rtol=1e-6)
    np.testing.assert_allclose(heat, heat.T, rtol=1e-6)
    assert find_peak(heat) == (50, 50)
    across = 0.25 * 101  # one deviation: exp(-1/2) of the middle
    assert np.interp(50 + across, np.arange(101), heat[50]) == pytest.approx(np.exp(-0.5), abs=1e-3)


def test_a_map_of_zeros_is_empty_and_scores_nothing() -> None:
    row = score(np.zeros((SIZE, SIZE), np.float32), square(4, 4, 8))
    assert (row.inside_share, row.hit, row.empty_map) == (0.0, 0, 1)
    assert row.inside_share_centred > 0


@pytest.mark.parametrize(("cell", "peak"), [((0, 0), (15, 15)), ((0, 4), (15, 144)), ((4, 2), (144, 80))])
def test_the_peak_of_an_enlarged_map_is_the_centre_of_its_hottest_cell(cell: tuple, peak: tuple) -> None:
    cells = np.zeros((5, 5), np.float32)
    cells[cell] = 1
    row, column = find_peak(cv2.resize(cells, (160, 160)))
    assert abs(row - peak[0]) <= 1
    assert abs(column - peak[1]) <= 1


def test_the_peak_of_two_maxima_is_one_of_them() -> None:
    heat = square(0, 0, 1) + square(30, 30, 1)
    assert heat[find_peak(heat)] == 1


def test_a_pixel_that_the_region_only_touches_is_a_hit() -> None:
    region = np.zeros((SIZE, SIZE), np.float32)
    region[5, 5] = 0.1
    assert hits_region(square(5, 5, 1), region)


def test_scores_do_not_depend_on_the_scale_of_the_map() -> None:
    heat = np.random.default_rng(0).random((SIZE, SIZE)).astype(np.float32)
    small = score(heat * 1e-6, square(4, 4, 8))
    assert small.inside_share == pytest.approx(score(heat, square(4, 4, 8)).inside_share, rel=1e-5)
    assert small.hit == score(heat, square(4, 4, 8)).hit


def test_the_summary_has_means_by_kind_and_counts_images_once() -> None:
    zeros = np.zeros((SIZE, SIZE), np.float32)
    rows = [
        score(square(6, 6, 2), square(4, 4, 8), "a"),
        score(square(20, 20, 2), square(4, 4, 8), "b"),
        score(zeros, square(4, 4, 8), "c"),
        score(zeros, square(0, 0, 32), "c", kind="lungs"),
    ]
    summary = summarize_rows(rows, "layer4")
    assert (summary["layer"], summary["n_scored"], summary["n_empty_maps"]) == ("layer4", 3, 1)
    lesion = summary["regions"]["lesion"]
    assert lesion["n_images"] == 3
    assert lesion["inside_share"] == pytest.approx(1 / 3)
    assert lesion["pointing_hit_rate"] == pytest.approx(1 / 3)
    assert lesion["inside_share_uniform"] == pytest.approx(64 / 1024)
    assert summary["regions"]["lungs"]["inside_share_centred"] == pytest.approx(1)


def test_the_summary_of_nothing_has_no_regions() -> None:
    assert summarize_rows([], "fc") == {"layer": "fc", "n_scored": 0, "n_empty_maps": 0, "regions": {}}
