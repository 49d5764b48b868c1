"""Boxes and masks on the grid of a map."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from cxrflow.errors import CxrflowError
from cxrflow.files.records import IndexRow, RegionRow
from cxrflow.results.explaining import cover_regions, group_regions


def image_of(width: int, height: int) -> IndexRow:
    return IndexRow("image", "image.png", "Mass", "p", "", width, height, "L", "", "")


def box(x: float, y: float, width: float, height: float, kind: str = "lesion") -> RegionRow:
    return RegionRow("image", kind, x, y, width, height, "")


def mask(path: Path) -> RegionRow:
    return RegionRow("image", "lungs", 0, 0, 0, 0, path.name)


def write_png(path: Path, pixels: np.ndarray) -> Path:
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return path


def test_a_box_is_scaled_by_width_and_height_of_the_file(tmp_path: Path) -> None:
    coverage = cover_regions([box(50, 20, 100, 50)], image_of(200, 100), tmp_path, 20)
    expected = np.zeros((20, 20))
    expected[4:14, 5:15] = 1
    np.testing.assert_array_equal(coverage, expected)


def test_pixels_that_a_box_cuts_count_in_part(tmp_path: Path) -> None:
    coverage = cover_regions([box(25, 0, 50, 100)], image_of(100, 100), tmp_path, 2)
    np.testing.assert_allclose(coverage, [[0.5, 0.5], [0.5, 0.5]])


@pytest.mark.parametrize("size_px", [7, 64, 224])
def test_the_share_of_the_image_is_that_of_the_box_at_every_size(tmp_path: Path, size_px: int) -> None:
    coverage = cover_regions([box(686.1, 131.5, 185.5, 313.5)], image_of(1024, 1024), tmp_path, size_px)
    assert coverage.mean() == pytest.approx(185.5 * 313.5 / 1024**2, rel=1e-4)


def test_what_lies_outside_the_image_is_cut_off(tmp_path: Path) -> None:
    coverage = cover_regions([box(-50, 50, 100, 500)], image_of(100, 100), tmp_path, 10)
    assert coverage.sum() == 25
    assert coverage[5:, :5].all()


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


def test_regions_are_grouped_by_image_and_kind() -> None:
    lesion, other, lungs = box(0, 0, 1, 1), box(2, 2, 1, 1), box(0, 0, 9, 9, kind="lungs")
    assert group_regions([lesion, lungs, other]) == {"image": {"lesion": [lesion, other], "lungs": [lungs]}}
