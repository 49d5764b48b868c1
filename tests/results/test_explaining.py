"""Boxes and masks on the grid of a map, and what a map scores against them, on maps whose scores are known."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import sha256_file
from cxrflow.files.records import IndexRow, RegionRow
from cxrflow.results.enlarging import enlarge
from cxrflow.results.explaining import (
    cover_regions,
    group_regions,
    read_map,
    read_random,
    score_map,
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


def read_peak(cells: np.ndarray, size_px: int = SIZE) -> np.ndarray:
    """Return the share of a map's maximum on every pixel, after its cells are enlarged."""
    return read_map(enlarge(cells.astype(np.float32), (size_px, size_px))).peak


@pytest.mark.parametrize(
    ("heat", "region", "share", "hit"),
    [
        (1e-6 * square(6, 6, 4), square(4, 4, 8), 1.0, 1),
        (square(20, 20, 8), square(4, 4, 8), 0.0, 0),
        (square(0, 0, SIZE), square(4, 4, 8), 64 / 1024, 64 / 1024),  # uniform: the region's share, by both
        (square(0, 0, 2) + 0.5 * square(20, 20, 2), square(0, 0, 10), 2 / 3, 1),
        (square(0, 0, 1) + square(30, 30, 1), square(0, 0, 1), 0.5, 0.5),  # one of two peaks
        (square(5, 5, 1), 0.1 * square(5, 5, 1), 0.1, 1),  # a pixel that the region only touches
        (0 * square(0, 0, 1), square(4, 4, 8), 0.0, 0),  # an empty map
    ],
)
def test_a_map_scores_the_share_of_its_heat_inside_and_hits_by_its_peak(
    heat: np.ndarray, region: np.ndarray, share: float, hit: float
) -> None:
    other = read_map(square(0, 0, SIZE))
    scores = score_map(read_map(heat), other, None, region)
    assert (scores["inside_share"], scores["hit"]) == (pytest.approx(share), pytest.approx(hit))
    assert scores["inside_share_uniform"] == scores["inside_share_random"] == pytest.approx(region.mean())
    assert np.isnan([scores["inside_share_fixed"], scores["hit_fixed"]]).all()


@pytest.mark.parametrize("grid", [(2, 2), (7, 7), (12, 12)])
def test_a_peak_has_no_bias_for_the_middle(grid: tuple[int, int]) -> None:
    """Every cell in turn the only hot one: as many peaks lie in the middle half as cells have their centre there."""
    cells = [read_peak(np.eye(1, grid[0] * grid[1], place).reshape(grid), 84) for place in range(grid[0] * grid[1])]
    peaks = np.mean(cells, axis=0)
    np.testing.assert_allclose(peaks, peaks[::-1, ::-1], atol=1e-9)
    np.testing.assert_allclose(peaks, peaks.T, atol=1e-9)
    centres = (np.arange(grid[0]) + 0.5) / grid[0]
    inside = np.mean((centres > 0.25) & (centres < 0.75))
    assert peaks[21:63, 21:63].sum() == pytest.approx(inside**2, abs=0.01)


@pytest.mark.parametrize(
    ("cell", "peak"), [((1, 1), (48, 48)), ((2, 3), (80, 112)), ((0, 0), (8, 8)), ((0, 4), (8, 152))]
)
def test_the_peak_of_an_enlarged_map_lies_in_its_hottest_cell(cell: tuple, peak: tuple) -> None:
    cells = np.zeros((5, 5), np.float32)
    cells[cell] = 1
    where = read_peak(cells, 160)
    assert where.sum() == pytest.approx(1)
    row, column = np.average(np.indices(where.shape).reshape(2, -1), axis=1, weights=where.ravel())
    assert (row, column) == pytest.approx(peak, abs=1)  # at the border the middle of the plateau
    assert not where[np.kron(cells, np.ones((32, 32))) == 0].any()


@pytest.mark.parametrize("grid", [(7, 7), (12, 12)])
def test_random_maps_have_a_regions_share_inside_and_repeat_by_seed(grid: tuple[int, int]) -> None:
    random = read_random(grid, SIZE, seed=0)
    assert random.heat.sum() == pytest.approx(1)
    assert random.peak.sum() == pytest.approx(1)
    for region in (square(0, 0, 10), square(11, 11, 10), square(4, 20, 12)):
        scores = score_map(random, random, random, region)
        assert scores["inside_share"] == pytest.approx(region.mean(), abs=0.004)
    half = np.repeat([[1], [0]], SIZE // 2, axis=0).repeat(SIZE, axis=1).astype(np.float32)
    assert score_map(random, random, None, half)["hit"] == pytest.approx(0.5, abs=0.05)
    np.testing.assert_array_equal(read_random(grid, SIZE, seed=0, n_maps=3).peak, read_random(grid, SIZE, 0, 3).peak)
    assert not np.array_equal(read_random(grid, SIZE, 1, 3).peak, read_random(grid, SIZE, 0, 3).peak)


def test_the_average_reading_scores_what_maps_score_on_average() -> None:
    generator, region = np.random.default_rng(3), square(3, 5, 9)
    heats = [enlarge(generator.random((7, 7), dtype=np.float32), (SIZE, SIZE)) for _ in range(200)]
    each = [score_map(read_map(heat), read_map(heat), None, region) for heat in heats]
    random = score_map(read_random((7, 7), SIZE, 3, 200), read_map(heats[0]), None, region)
    for name in ("inside_share", "hit"):
        assert random[name] == pytest.approx(np.mean([scores[name] for scores in each]))
