"""Packed images as preprocess leaves them, without files to read them from."""

import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrflow.data.images import write_table_of
from cxrflow.files.records import IndexRow, PackedRow, SplitRow


def save_images(path: Path, pixels: NDArray[np.uint8], rows: Iterable[IndexRow | SplitRow]) -> None:
    """Write images.npy, uint8 (N, H, W), and images.csv with the ids of N rows."""
    np.save(path, pixels)
    write_image_table(path, pixels, rows)


def write_image_table(path: Path, pixels: NDArray[np.uint8], rows: Iterable[IndexRow | SplitRow]) -> None:
    """Write images.csv beside images.npy."""
    write_table_of(
        path, (PackedRow(row.image_id, zlib.crc32(image.data)) for row, image in zip(rows, pixels, strict=True))
    )
