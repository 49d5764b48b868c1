import dataclasses

import numpy as np
import pytest

from cxrflow.data.images import open_images
from cxrflow.errors import CxrflowError
from cxrflow.files.records import SplitRow
from tests.packed import save_images, write_image_table

PIXELS = np.arange(36, dtype=np.uint8).reshape(3, 3, 4)
ROWS = [SplitRow(f"i{k}", "ill", f"p{k}", f"p{k}", "train") for k in range(3)]


@pytest.fixture
def path(tmp_path):
    save_images(tmp_path / "images.npy", PIXELS, ROWS)
    return tmp_path / "images.npy"


def test_opens_read_only(path):
    packed = open_images(path)
    assert isinstance(packed.pixels, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        packed.pixels[0, 0, 0] = 1


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3, 4)), r"expected uint8 \(N, H, W\), got float64 \(2, 3, 4\)"),
        (np.zeros((2, 3), np.uint8), r"got uint8 \(2, 3\)"),
        (np.zeros((5, 3, 4), np.uint8), r"has 5 images, and .*images.csv 3 rows"),
        (np.array([{}], dtype=object), r"not a complete \.npy file"),
    ],
)
def test_refuses_other_arrays(path, array, message):
    np.save(path, array)
    with pytest.raises(CxrflowError, match=message):
        open_images(path)


@pytest.mark.parametrize("size", [0, 50, 140])
def test_refuses_a_cut_file(path, size):
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CxrflowError, match=r"not a complete \.npy file"):
        open_images(path)


def test_refuses_an_archive_and_missing_files(tmp_path, path):
    np.savez(tmp_path / "archive.npz", np.zeros(3))
    with pytest.raises(CxrflowError, match="expected uint8"):
        open_images(tmp_path / "archive.npz")
    with pytest.raises(CxrflowError, match=r"other\.npy does not exist"):
        open_images(tmp_path / "other.npy")
    path.with_suffix(".csv").unlink()
    with pytest.raises(CxrflowError, match=r"images\.csv does not exist"):
        open_images(path)


def test_rows_are_joined_by_id_in_whatever_order_they_come(path):
    packed = open_images(path)
    assert packed.join(ROWS[::-1]) == ROWS
    for wrong in (ROWS[:2], [*ROWS[:2], ROWS[0]], [*ROWS[:2], dataclasses.replace(ROWS[2], image_id="other")]):
        with pytest.raises(CxrflowError, match=r"make both again from one index\.csv"):
            packed.join(wrong)


def test_a_changed_pixel_is_found_and_its_image_named(path):
    changed = PIXELS.copy()
    changed[1, 2, 2] ^= 1
    write_image_table(path, changed, ROWS)
    packed = open_images(path)
    packed.check([0, 2])
    with pytest.raises(CxrflowError, match="the pixels of i1 were changed"):
        packed.check(range(3))
