"""Files that are whole or absent, and unchanged since they were made.

A file is written next to its target, flushed to disk, and renamed over it. What a stage has made is listed with its
SHA-256 in the folder .provenance beside it (cxrflow.files.provenance); every file that is read is checked against that.
"""

import contextlib
import functools
import glob
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrflow.errors import CxrflowError

if TYPE_CHECKING:  # the Snakefile reads the readers' table through here, and planning needs no numpy
    from numpy.typing import NDArray

MISSING = "{} does not exist: make it first (Snakemake makes any file that is requested by name)"
PROVENANCE = ".provenance"
# What this process has read, with its SHA-256, and what it has written: absolute paths, for the record of a stage.
READ: dict[Path, str] = {}
WRITTEN: set[Path] = set()


class ChangedFileError(CxrflowError):
    """A file is not what its record says."""


def check_unchanged(path: Path, sha256: str | None = None) -> None:
    """Check a file against the record of the stage that made it; one that no record names is taken as it is.

    Args:
        path: of an existing file.
        sha256: of its content, where the caller has it already.

    Raises:
        ChangedFileError: the content is not what was recorded.
    """
    found = sha256 or sha256_file(path)
    stage, expected = recorded_hashes(path.parent).get(path.name, ("", found))
    if expected != found:
        raise ChangedFileError(
            f"{path} was changed or damaged after {stage} made it (SHA-256 {found[:12]}, not {expected[:12]}): copy the"
            f" original back, or delete it and make it again (`snakemake {path}`)"
        )
    READ[Path(os.path.abspath(path))] = found


def recorded_hashes(folder: Path) -> dict[str, tuple[str, str]]:
    """Return {file name: (stage, SHA-256)} of all that the records of a folder name."""
    try:
        return _recorded_hashes(folder / PROVENANCE, os.stat(folder / PROVENANCE).st_mtime_ns)
    except FileNotFoundError:
        return {}


@functools.lru_cache(maxsize=256)
def _recorded_hashes(records: Path, _changed_ns: int) -> dict[str, tuple[str, str]]:
    hashes: dict[str, tuple[str, str]] = {}
    for path in sorted(records.glob("*.json"), key=lambda path: path.stat().st_mtime_ns):
        record = read_record(path)
        hashes |= {name: (record["stage"], sha256) for name, sha256 in record["outputs"].items()}
    return hashes


def read_record(path: Path) -> dict[str, Any]:
    """Read a record of a stage, `sign_record`'s content as `write_json` writes it.

    Raises:
        ChangedFileError: not a byte for byte copy of what was written.
    """
    data = path.read_bytes()
    try:
        record: dict[str, Any] = json.loads(data)
        if _as_json(sign_record(record)) == data:
            return record
    except (ValueError, AttributeError):
        pass  # no JSON, or no object
    raise ChangedFileError(
        f"{path} was changed or damaged, and says what was made of what: copy the original back, or delete it and the"
        f" files that it names, and make them again"
    )


def sign_record(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record with the SHA-256 of the rest of it, so that a changed one is found."""
    rest = {name: value for name, value in record.items() if name != "sha256"}
    return rest | {"sha256": sha256_bytes(_as_json(rest))}


@contextlib.contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Give a temporary path in the target's folder and rename it to `path` when the block ends without an error.

    A kill at any moment leaves the old file or the new one, never a part (torch.save alone left 35 unreadable files
    of 40 when killed at random). Temporary files of earlier, killed writers of the same target are swept first: a
    target has one writer at a time. A link stays, and the file that it names is replaced. A pipe or a device, such as
    /dev/null, is given itself: it is written to and never replaced.

    Raises:
        CxrflowError: the target is a folder.
    """
    refuse_folder(path)
    if path.exists() and not path.is_file():
        yield path
        return
    named, path = path, path.resolve() if path.is_symlink() else path
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        stale.unlink(missing_ok=True)
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        yield temporary
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
        _fsync_folder(path.parent)
        WRITTEN.add(Path(os.path.abspath(named)))
    except OSError as error:
        error = error if error.errno else _find_reason(error, temporary)
        error.filename = error.filename or str(path)  # a failed write names no file, and a full disk should be found
        raise error from None
    finally:
        temporary.unlink(missing_ok=True)


def _find_reason(error: OSError, temporary: Path) -> OSError:
    """Return the system's own error, which plain writes to the same file meet again, where a library hides it.

    np.save and Pillow say of a full disk no more than that something was not written.
    """
    try:
        with temporary.open("ab") as handle:
            handle.write(bytes(2**16))
            os.fsync(handle.fileno())
    except OSError as plain:
        return plain
    return error


def refuse_folder(path: Path) -> None:
    """Make sure that a file can have this name, before the work that fills it.

    Raises:
        CxrflowError: it is a folder.
    """
    if path.is_dir():
        raise CxrflowError(f"{path} is a folder, and a file is to be written: name a file in it, or another name")


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
    write_bytes(path, _as_json(value))


def _as_json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        CxrflowError: it is missing, changed since it was made, or no JSON.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise CxrflowError(MISSING.format(path)) from None
    check_unchanged(path, sha256_bytes(data))
    return parse_json(path, data)


def parse_json(path: Path, data: bytes) -> Any:
    """Return the content of a JSON file, unchecked."""
    try:
        return json.loads(data)
    except ValueError as error:
        raise CxrflowError(f"{path} is not valid JSON ({error}): delete it and run its stage again") from None


def write_array(path: Path, array: "NDArray[Any]") -> None:
    """Write a .npy file atomically."""
    import numpy as np

    with write_atomically(path) as temporary, temporary.open("wb") as handle:
        np.save(handle, array)


def read_array(path: Path) -> "NDArray[Any]":
    """Read a .npy file of numbers.

    Raises:
        CxrflowError: it is missing, changed since it was made, or no complete .npy file.
    """
    import numpy as np

    try:
        check_unchanged(path)
        array: NDArray[Any] = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise CxrflowError(MISSING.format(path)) from None
    except (ValueError, EOFError) as error:
        raise CxrflowError(f"{path} is not a complete .npy file ({error}): delete it and run its stage again") from None
    return array


def read_mapped(path: Path) -> "NDArray[Any]":
    """Map a .npy file of numbers into memory, read-only; only what is looked at is read.

    Raises:
        CxrflowError: it is missing or no complete .npy file.
    """
    import numpy as np

    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except FileNotFoundError:
        raise CxrflowError(MISSING.format(path)) from None
    except (ValueError, EOFError) as error:
        raise CxrflowError(f"{path} is not a complete .npy file ({error}): delete it and run its stage again") from None


def sha256_bytes(data: bytes) -> str:
    """Return the SHA-256 of bytes as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's content as 64 hex digits, reading 1 MiB at a time."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
