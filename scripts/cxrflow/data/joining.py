"""Pack a dataset in shards, and join them into the array that one job would have packed, byte for byte.

Reads the dataset's image files and index.csv; writes rows.npy and rows.json of each shard, then images.npy.
"""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cxrflow.config.settings import PreprocessSettings
from cxrflow.data.packing import Packing, check_free, npy_header, pack_rows, plan_packing
from cxrflow.data.sharding import Shard, list_shards
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import read_json, write_atomically, write_json

COPY_BYTES = 16 * 2**20  # at once: large enough for a network's disk, small beside any job's memory


def pack_shard(
    folder: Path, index: Path, settings: PreprocessSettings, threads: int, shard: Shard, resume: Path, rows: Path
) -> None:
    """Preprocess the images of one shard into `rows`; a killed run goes on where it was.

    Raises:
        CxrflowError: as `pack_images`.
    """
    packing = plan_packing(index, settings)
    mine = replace(packing, rows=packing.rows[shard.stretch(len(packing.rows))], key=f"{packing.key} {shard.name}")
    note_of(rows).unlink(missing_ok=True)  # it may speak of other rows, and a kill may come before the new one
    pack_rows(mine, folder, threads, resume, rows)
    write_json(note_of(rows), _describe(packing, shard))  # last: its presence means that the shard is whole


def note_of(rows: Path) -> Path:
    """Return the file that says what the rows of a shard are."""
    return rows.with_suffix(".json")


def _describe(packing: Packing, shard: Shard) -> dict[str, Any]:
    return {"shard": shard.name, "key": packing.key}


def join_shards(index: Path, settings: PreprocessSettings, rows: Sequence[Path], images: Path) -> None:
    """Join the shards of an index, all of them and in order, into `images`.

    Raises:
        CxrflowError: a shard is missing, cut off, of another place in the order, or packed from another index, with
        other settings or code; or the disk is too small.
    """
    packing = plan_packing(index, settings)
    parts = [(path, shard, _header(packing, shard)) for path, shard in zip(rows, list_shards(len(rows)), strict=True)]
    for path, shard, header in parts:
        _check_shard(path, packing, shard, header)
    images.parent.mkdir(parents=True, exist_ok=True)
    check_free(images.parent, packing.shape, len(packing.rows))
    with write_atomically(images) as temporary, temporary.open("wb") as target:
        target.write(npy_header(packing.shape))
        for path, _, header in parts:
            with path.open("rb") as source:
                source.seek(len(header))
                shutil.copyfileobj(source, target, COPY_BYTES)


def _header(packing: Packing, shard: Shard) -> bytes:
    """Return the first bytes that a shard's rows.npy must have."""
    n_all, *size = packing.shape
    stretch = shard.stretch(n_all)
    return npy_header((stretch.stop - stretch.start, *size))


def _check_shard(path: Path, packing: Packing, shard: Shard, header: bytes) -> None:
    """Check that a shard is the one that belongs here, before anything is written.

    Raises:
        CxrflowError: it is not; names the file and what to do.
    """
    note, again = read_json(note_of(path)), f"delete {path.parent} and run preprocess_shard again"
    expected = _describe(packing, shard)
    if note.get("shard") != expected["shard"]:
        raise CxrflowError(f"{path} is shard {note.get('shard')}, expected {shard.name}: give all shards, in order")
    if note.get("key") != expected["key"]:
        raise CxrflowError(f"{path} was packed from another index, with other settings or other code: {again}")
    stretch = shard.stretch(len(packing.rows))
    n_bytes = len(header) + (stretch.stop - stretch.start) * packing.row_bytes
    if not path.is_file() or path.stat().st_size != n_bytes:
        raise CxrflowError(f"{path} is not there or not whole, expected {n_bytes:,} bytes: {again}")
    with path.open("rb") as handle:
        if handle.read(len(header)) != header:
            raise CxrflowError(f"{path} has images of another number or size: {again}")
