"""Open images.npy. Apart from packing, so that a change in how image files are read retrains nothing by itself."""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import MISSING
from cxrflow.files.records import IndexRow, PackedRow, SplitRow
from cxrflow.files.tables import read_records, write_records

Row = TypeVar("Row", IndexRow, SplitRow)


@dataclass(frozen=True)
class PackedImages:
    """The packed images of a dataset.

    Attributes:
        path: of images.npy, for messages.
        pixels: uint8 (N, H, W), 0-255, a read-only memory map.
        rows: N; which image each is, and its checksum.
    """

    path: Path
    pixels: NDArray[np.uint8]
    rows: list[PackedRow]

    def join(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows of an index or split in the order of the images, joined by image_id.

        Raises:
            CxrflowError: a row without its image, an image without its row, or a row twice.
        """
        by_id = {row.image_id: row for row in rows}
        ids = [row.image_id for row in self.rows]
        if len(by_id) != len(rows) or by_id.keys() != set(ids):
            odd = sorted(by_id.keys() ^ set(ids)) or ["one that is listed twice"]
            raise CxrflowError(
                f"{self.path} has {len(ids):,} images and the table {len(rows):,} rows, and they differ, first in"
                f" {odd[0]}: they come from different indexes; make both again from one index.csv"
            )
        return [by_id[image_id] for image_id in ids]

    def check(self, places: Iterable[int]) -> None:
        """Check the pixels of some images, by their place, against their checksums: 4 GB/s.

        Raises:
            CxrflowError: names the first image that was changed since it was packed.
        """
        for place in places:
            if zlib.crc32(self.pixels[place]) != self.rows[place].crc32:
                raise CxrflowError(
                    f"{self.path}: the pixels of {self.rows[place].image_id} were changed or damaged after preprocess"
                    f" made them: delete {self.path} and make it again"
                )


def table_path(images: Path) -> Path:
    """Return where the ids and checksums of packed images are: images.npy -> images.csv."""
    return images.with_suffix(".csv")


def write_table_of(images: Path, rows: Iterable[PackedRow]) -> None:
    """Write images.csv."""
    write_records(table_path(images), PackedRow, rows)


def open_images(path: Path) -> PackedImages:
    """Open images.npy and images.csv beside it.

    Raises:
        CxrflowError: one is missing, not a .npy file, cut off, of another type or shape, or the two are not of the same
        length.
    """
    try:
        pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise CxrflowError(MISSING.format(path)) from None
    except (ValueError, EOFError, OSError) as error:
        raise CxrflowError(f"{path} is not a complete .npy file ({error}): run preprocess again") from None
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3:
        found = f"{getattr(pixels, 'dtype', type(pixels).__name__)} {getattr(pixels, 'shape', '')}"
        raise CxrflowError(f"{path}: expected uint8 (N, H, W), got {found}; run preprocess again")
    rows = read_records(table_path(path), PackedRow)
    if len(pixels) != len(rows):
        raise CxrflowError(
            f"{path} has {len(pixels):,} images, and {table_path(path)} {len(rows):,} rows: one of the two is outdated;"
            " run preprocess again"
        )
    return PackedImages(path, pixels, rows)
