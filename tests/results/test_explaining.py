"""Boxes and masks on the grid of a map, and what a map scores against them, on maps whose scores are known."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import sha256_file
from cxrflow.files.records import IndexRow, RegionRow
from cxrflow.results.explaining import (
    centred_map,
    cover_regions,
    find_peak,
    group_regions,
    score_map,
    summarize_rows,
)


def image_of(width: int, height: int) -> IndexRow:
    return IndexRow("image", "image.png", "Mass", "p", "", width, height, "L", "", "")


def box(x: float, y: float, width: float, height: float, kind: str = "lesion") -> RegionRow:
    return RegionRow("image", kind, x, y, width, height, "")


def mask(path: Path) -> RegionRow:
    sha256 = sha256_file(path) if path.is_file() else ""
    return RegionRow("image", "lungs", 0, 0, 0, 0, path.name, sha256)


def write_png(path: Path, pixels: np.ndarray) -> Path:
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return path


@pytest.mark.parametrize(
    ("region", "width", "size_px", "rows", "columns"),
    [
        (box(50, 20, 100, 50), 200, 20, slice(4, 14), slice(5, 15)),  # scaled by width and height of the file
        (box(-50, 50, 100, 500), 100, 10, slice(5, 10), slice(0, 5)),  # cut off where the image ends
    ],
)
def test_a_box_covers_its_part_of_the_image(
    tmp_path: Path, region: RegionRow, width: int, size_px: int, rows: slice, columns: slice
) -> None:
    expected = np.zeros((size_px, size_px))
    expected[rows, columns] = 1
    np.testing.assert_array_equal(cover_regions([region], image_of(width, 100), tmp_path, size_px), expected)


@pytest.mark.parametrize("size_px", [7, 64, 224])  # pixels that a box cuts count in part
def test_the_share_of_the_image_is_that_of_the_box_at_every_size(tmp_path: Path, size_px: int) -> None:
    coverage = cover_regions([box(686.1, 131.5, 185.5, 313.5)], image_of(1024, 1024), tmp_path, size_px)
    assert coverage.mean() == pytest.approx(185.5 * 313.5 / 1024**2, rel=1e-4)


def test_overlapping_boxes_count_once(tmp_path: Path) -> None:
    coverage = cover_regions([box(0, 0, 60, 100), box(40, 0, 60, 100)], image_of(100, 100), tmp_path, 10)
    np.testing.assert_array_equal(coverage, np.ones((10, 10)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_mask_of_any_size_is_scaled(tmp_path: Path, dtype: type) -> None:
    pixels = np.zeros((40, 80), dtype)
    pixels[10:30, 20:40] = 1  # value 1 of 65535 is inside, too
    coverage = cover_regions([mask(write_png(tmp_path / "m.png", pixels))], image_of(160, 80), tmp_path, 20)
    expected = np.zeros((20, 20))
    expected[5:15, 5:10] = 1
    np.testing.assert_allclose(coverage, expected, atol=1e-6)


def test_a_mask_is_turned_like_the_image_that_it_was_drawn_on(tmp_path: Path) -> None:
    pixels = np.zeros((40, 40), np.uint8)
    pixels[:20] = 255  # stored at the top; orientation 6 turns the top to the right
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "m.png", exif=tags)
    coverage = cover_regions([mask(tmp_path / "m.png")], image_of(40, 40), tmp_path, 4)
    assert coverage is not None
    np.testing.assert_array_equal(coverage, np.tile([0, 0, 1, 1], (4, 1)))


def test_a_mask_smaller_than_the_map_grows_with_it(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8), np.uint8)
    pixels[2:6, 2:6] = 255
    coverage = cover_regions([mask(write_png(tmp_path / "m.png", pixels))], image_of(8, 8), tmp_path, 64)
    assert coverage.mean() == pytest.approx(0.25, abs=0.01)
    assert coverage[32, 32] == 1
    assert coverage[2, 2] == 0


def test_any_colour_is_inside_and_opacity_is_not(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[..., 3] = 255  # opaque everywhere
    pixels[0, 0, 0] = 1  # the faintest blue
    coverage = cover_regions([mask(write_png(tmp_path / "m.png", pixels))], image_of(4, 4), tmp_path, 4)
    assert coverage.sum() == coverage[0, 0] == 1


def test_an_empty_region_names_the_image(tmp_path: Path) -> None:
    write_png(tmp_path / "black.png", np.zeros((4, 4), np.uint8))
    for row in (box(200, 0, 10, 10), mask(tmp_path / "black.png")):
        with pytest.raises(CxrflowError, match=r"image image: its .* holds no pixel of the 100 x 100 px image"):
            cover_regions([row], image_of(100, 100), tmp_path, 8)


@pytest.mark.parametrize("content", [None, b"", b"<html>not found</html>"])
def test_a_mask_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "m.png").write_bytes(content)
    with pytest.raises(CxrflowError, match=r"m\.png (does not exist|is not an image)"):
        cover_regions([mask(tmp_path / "m.png")], image_of(4, 4), tmp_path, 4)


def test_a_mask_that_changed_since_it_was_indexed_is_refused(tmp_path: Path) -> None:
    row = mask(write_png(tmp_path / "m.png", np.eye(4, dtype=np.uint8)))
    write_png(tmp_path / "m.png", 1 - np.eye(4, dtype=np.uint8))
    with pytest.raises(CxrflowError, match=r"m\.png was changed since it was indexed"):
        cover_regions([row], image_of(4, 4), tmp_path, 4)


def test_regions_are_grouped_by_image_and_kind() -> None:
    lesion, other, lungs = box(0, 0, 1, 1), box(2, 2, 1, 1), box(0, 0, 9, 9, kind="lungs")
    assert group_regions([lesion, lungs, other]) == {"image": {"lesion": [lesion, other], "lungs": [lungs]}}


SIZE = 32


def square(top: int, left: int, side: int) -> np.ndarray:
    """Return float32 (32, 32), 1 in a square."""
    pixels = np.zeros((SIZE, SIZE), np.float32)
    pixels[top : top + side, left : left + side] = 1
    return pixels


def score(heat: np.ndarray, region: np.ndarray, image_id: str = "a", kind: str = "lesion"):
    return score_map(heat, region, image_id=image_id, label="Mass", predicted="Nodule", kind=kind)


@pytest.mark.parametrize(
    ("heat", "region", "share", "hit"),
    [
        (1e-6 * square(6, 6, 4), square(4, 4, 8), 1.0, 1),
        (square(20, 20, 8), square(4, 4, 8), 0.0, 0),
        (square(0, 0, SIZE), square(4, 4, 8), 64 / 1024, 0),  # uniform: the region's share of the image
        (square(0, 0, 2) + 0.5 * square(20, 20, 2), square(0, 0, 10), 2 / 3, 1),
        (square(0, 0, 1) + square(30, 30, 1), square(0, 0, 1) + square(30, 30, 1), 1.0, 1),  # either peak
        (square(5, 5, 1), 0.1 * square(5, 5, 1), 0.1, 1),  # a pixel that the region only touches
        (0 * square(0, 0, 1), square(4, 4, 8), 0.0, 0),  # an empty map
    ],
)
def test_a_map_scores_the_share_of_its_heat_inside_and_hits_by_its_peak(
    heat: np.ndarray, region: np.ndarray, share: float, hit: int
) -> None:
    row = score(heat, region)
    assert (row.inside_share, row.hit, row.empty_map) == (pytest.approx(share), hit, int(not heat.any()))
    assert row.inside_share_uniform == pytest.approx(region.mean())
    assert row.inside_share_centred > 0
    assert (row.label, row.predicted, row.region) == ("Mass", "Nodule", "lesion")


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


@pytest.mark.parametrize(("cell", "peak"), [((0, 0), (15, 15)), ((0, 4), (15, 144)), ((4, 2), (144, 80))])
def test_the_peak_of_an_enlarged_map_is_the_centre_of_its_hottest_cell(cell: tuple, peak: tuple) -> None:
    cells = np.zeros((5, 5), np.float32)
    cells[cell] = 1
    row, column = find_peak(cv2.resize(cells, (160, 160)))
    assert abs(row - peak[0]) <= 1
    assert abs(column - peak[1]) <= 1


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
