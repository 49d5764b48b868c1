"""Pack preprocessed images into one array on disk.

Reads the dataset's image files; writes images.npy, uint8 (N, size, size), and images.csv, which image each of them is.
Unfinished work lies in a resume folder that no rule declares, because Snakemake deletes declared outputs before a
rerun.
"""

import contextlib
import errno
import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from io import BytesIO, FileIO
from pathlib import Path

import cv2
import numpy as np

from cxrflow.config.parsing import settings_json
from cxrflow.config.settings import PreprocessSettings
from cxrflow.data.decode import decode_indexed, load_kornia
from cxrflow.data.headers import DecodeError
from cxrflow.data.images import write_table_of
from cxrflow.data.preprocessing import Gray, preprocess_image
from cxrflow.data.reading import map_in_parallel, read_image_file, report_progress
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import read_json, sha256_bytes, write_atomically, write_json
from cxrflow.files.code_hash import code_hash
from cxrflow.files.leases import FILE as LEASE_FILE
from cxrflow.files.leases import hold_lease
from cxrflow.files.records import IndexRow, PackedRow, SplitRow
from cxrflow.files.tables import read_records

SAVE_EVERY = 256  # images between two notes of progress: a kill loses some seconds of work at most
DISK_SLACK = 64 * 2**20  # bytes that packing leaves free


def read_part(index: Path, split: Path) -> list[IndexRow]:
    """Return the rows of index.csv whose images are in split.csv or test.csv, in index order.

    Raises:
        CxrflowError: there are none, or the index lacks one.
    """
    wanted = {row.image_id for row in read_records(split, SplitRow)}
    rows: list[IndexRow] = [row for row in read_records(index, IndexRow) if row.image_id in wanted]
    if len(rows) < len(wanted) or not rows:
        raise CxrflowError(
            f"{split} has {len(wanted):,} images, and {index} knows {len(rows):,} of them: they are of different runs;"
            " run index and split again"
        )
    return rows


def pack_images(
    folder: Path, rows: Sequence[IndexRow], settings: PreprocessSettings, threads: int, resume: Path, images: Path
) -> None:
    """Preprocess images of an index into `images`; a killed run resumes where it was.

    The partial array counts as ours only while rows, settings and code are what it was begun with.

    Raises:
        CxrflowError: an image is gone or has changed since it was indexed, the disk is too small, or another run packs
        here.
    """
    cv2.setNumThreads(1)  # the threads here are enough; each of them would start its own
    parts = [*map(repr, rows), settings_json(settings), code_hash("preprocess")]
    with hold_lease(resume, f"packing {images}") as lease:
        part = PartialPack(
            resume, sha256_bytes("\0".join(parts).encode()), (len(rows), settings.size_px, settings.size_px)
        )
        part.check_disk()
        _fill(part, folder, rows, settings, threads)
        lease.check()
        write_table_of(images, (PackedRow(row.image_id, crc) for row, crc in zip(rows, part.crcs, strict=True)))
        part.finish(images)
        _clear(resume)


def _clear(resume: Path) -> None:
    """Remove what is left of the work, and not the lease: whoever waits for it makes files here meanwhile."""
    for path in resume.iterdir():
        if path.name != LEASE_FILE:
            path.unlink(missing_ok=True)


def _fill(
    part: "PartialPack", folder: Path, rows: Sequence[IndexRow], settings: PreprocessSettings, threads: int
) -> None:
    if part.n_done:
        print(f"resuming after {part.n_done:,} images of an earlier run")
    pack = partial(read_preprocessed, folder, settings=settings)
    with part.open() as handle:
        results = map_in_parallel(pack, rows[part.n_done :], threads, holds_lock=load_kornia() is not None)
        for image in report_progress(results, len(rows), "packed", part.n_done):
            part.append(handle, image)


def read_preprocessed(folder: Path, row: IndexRow, settings: PreprocessSettings) -> Gray:
    """Read one indexed image and preprocess it; return uint8 (size_px, size_px)."""
    return preprocess_image(read_indexed(folder, row), settings)


def read_indexed(folder: Path, row: IndexRow) -> Gray:
    """Read and decode one indexed image; return uint8 (height, width), 0-255.

    Raises:
        CxrflowError: the file is gone, or its bytes are not the indexed ones. Only the hash shows damage inside a JPEG.
    """
    path = folder / row.path
    where = f"{path}, image {row.image_id},"
    try:
        data = read_image_file(path, float("inf"))  # the index has looked at its size
    except FileNotFoundError:
        raise CxrflowError(f"{where} has disappeared since it was indexed: put it back, or run index again") from None
    except OSError as error:
        raise CxrflowError(f"{where} cannot be opened: {os.strerror(error.errno or 0)}") from None
    except DecodeError as error:
        raise CxrflowError(f"{where} has changed since it was indexed: {error}; restore it") from None
    if sha256_bytes(data) != row.sha256:
        raise CxrflowError(f"{where} has changed since it was indexed: restore it, or run index again")
    try:
        return decode_indexed(data)
    except DecodeError as error:
        raise CxrflowError(f"{where} could be decoded before and cannot now: {error}; run index again") from None


class PartialPack:
    """A .npy file that is filled from the front, with a note of how many rows are surely in it.

    It is written with plain writes: on a full disk they raise an error that can be reported, where a memory map would
    end the process with SIGBUS.
    """

    def __init__(self, resume: Path, key: str, shape: tuple[int, int, int]) -> None:
        """Take up the partial file of `resume` if it was begun with the same key, else begin anew."""
        self.path, self.note = resume / "images.partial", resume / "progress.json"
        self.key, self.shape = key, shape
        self.header = npy_header(shape)
        self.row_bytes = shape[1] * shape[2]
        self.crcs = self._read_progress()

    @property
    def n_done(self) -> int:
        """Rows that are surely in the file."""
        return len(self.crcs)

    def _read_progress(self) -> list[int]:
        """Return the checksums of the rows that are done, each read again: what is damaged is begun anew."""
        note = read_json(self.note) if self.note.is_file() and self.path.is_file() else {}
        if note.get("key") != self.key:
            return []
        with self.path.open("rb") as handle:
            is_whole = handle.read(len(self.header)) == self.header
            if is_whole and all(zlib.crc32(handle.read(self.row_bytes)) == crc for crc in note["crc32"]):
                return list(note["crc32"])
        print(f"note: the unfinished work in {self.path} is damaged: beginning anew")
        return []

    def _offset(self, row: int) -> int:
        return len(self.header) + row * self.row_bytes

    def check_disk(self) -> None:
        """Stop before any work where the rest cannot fit.

        Raises:
            CxrflowError: says how much is needed and how much is free.
        """
        n_images, height, width = self.shape
        needed = (n_images - self.n_done) * self.row_bytes + DISK_SLACK
        free = shutil.disk_usage(self.path.parent).free
        if free < needed:
            raise CxrflowError(
                f"{self.path.parent} is on a disk with {free / 2**20:,.0f} MiB free, and packing {n_images:,} images of"
                f" {height}x{width} px needs {needed / 2**20:,.0f} MiB more: free space there, or lower"
                " preprocess.size_px"
            )

    @contextlib.contextmanager
    def open(self) -> Iterator[FileIO]:
        """Open the file for appending after the rows that are surely in it."""
        begin_anew = self.n_done == 0
        with FileIO(self.path, "wb" if begin_anew else "r+b") as handle:
            if begin_anew:
                self._write(handle, self.header)
            handle.seek(self._offset(self.n_done))
            yield handle

    def append(self, handle: FileIO, image: Gray) -> None:
        """Write the next row, and note the progress every SAVE_EVERY rows and after the last."""
        self._write(handle, image.tobytes())
        self.crcs.append(zlib.crc32(image.data))
        if self.n_done % SAVE_EVERY == 0 or self.n_done == self.shape[0]:
            os.fsync(handle.fileno())  # the note must never run ahead of the rows
            write_json(self.note, {"key": self.key, "crc32": self.crcs})

    def _write(self, handle: FileIO, data: bytes) -> None:
        """Write all of the data: a nearly full disk takes a part first and raises at the next try."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[handle.write(rest) or 0 :]
        except OSError as error:  # the operating system names no file for a failed write
            raise OSError(error.errno, os.strerror(error.errno or 0), str(self.path)) from None

    def finish(self, images: Path) -> None:
        """Move the full file to its place at once; the resume folder may be on another disk."""
        with write_atomically(images) as temporary:
            try:
                os.rename(self.path, temporary)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                shutil.copyfile(self.path, temporary)


def npy_header(shape: tuple[int, ...]) -> bytes:
    """Return the first bytes of a .npy file of uint8 in C order, format version 1.0."""
    buffer = BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return buffer.getvalue()
