import numpy as np
import pytest

from cxrflow.data.images import load_images
from cxrflow.errors import CxrflowError


def test_opens_read_only(tmp_path):
    np.save(tmp_path / "images.npy", np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
    images = load_images(tmp_path / "images.npy", 2)
    assert isinstance(images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        images[0, 0, 0] = 1


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3, 4)), r"expected uint8 \(N, H, W\), got float64 \(2, 3, 4\)"),
        (np.zeros((2, 3), np.uint8), r"got uint8 \(2, 3\)"),
        (np.zeros((5, 3, 4), np.uint8), "has 5 images, and the index has 2"),
        (np.array([{}], dtype=object), r"not a complete \.npy file"),
    ],
)
def test_refuses_other_arrays(tmp_path, array, message):
    np.save(tmp_path / "images.npy", array)
    with pytest.raises(CxrflowError, match=message):
        load_images(tmp_path / "images.npy", 2)


@pytest.mark.parametrize("size", [0, 50, 140])
def test_refuses_a_cut_file(tmp_path, size):
    path = tmp_path / "images.npy"
    np.save(path, np.zeros((2, 3, 4), np.uint8))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CxrflowError, match=r"not a complete \.npy file"):
        load_images(path, 2)


def test_refuses_an_archive_and_a_missing_file(tmp_path):
    np.savez(tmp_path / "archive.npz", np.zeros(3))
    with pytest.raises(CxrflowError, match="expected uint8"):
        load_images(tmp_path / "archive.npz")
    with pytest.raises(CxrflowError, match="does not exist"):
        load_images(tmp_path / "images.npy")
