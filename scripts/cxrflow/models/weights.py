"""ImageNet weights: fetched once, and checked against the SHA-256 that torchvision puts into the file's name.

Reads a URL; writes one .pth file. `resnet34-b627a593.pth` has a SHA-256 that begins with b627a593.
"""

import http.client
import re
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import check_unchanged, sha256_file, write_atomically

PYTORCH = "https://download.pytorch.org/models"
TIMEOUT_S = 30.0  # without a byte from the server
MIB = 1 << 20


def fetch_weights(url: str, path: Path, timeout_s: float = TIMEOUT_S) -> None:
    """Download a file of ImageNet weights to `path`, unless it exists and is what its name says; as `fetch_file`.

    Raises:
        CxrflowError: also where the name carries no SHA-256.
    """
    fetch_file(url, path, expected_sha256(path), timeout_s)


def fetch_file(url: str, path: Path, sha256: str, timeout_s: float = TIMEOUT_S) -> None:
    """Download a file to `path`, unless it exists and its SHA-256 begins with the given hex digits.

    The content is checked before it gets its name: a file under that name is whole.

    Raises:
        CxrflowError: no network, an error of the server, or content with another SHA-256.
    """
    if path.is_file() and sha256_file(path).startswith(sha256):
        print(f"{path} exists and is right ({path.stat().st_size / MIB:.1f} MiB): nothing to fetch")
        return
    with write_atomically(path) as temporary:
        print(f"fetching {url}")
        size_bytes = _download(url, path, temporary, timeout_s)
        if not (found := sha256_file(temporary)).startswith(sha256):
            raise CxrflowError(
                f"{url} gave {size_bytes} bytes with SHA-256 {found[:12]}..., and it should be {sha256[:12]}: nothing"
                f" was kept. The answer may be a login page; {_by_hand(url, path)}"
            )
    print(f"{path}: {size_bytes / MIB:.1f} MiB, SHA-256 as it should be")


def copy_weights(source: Path, path: Path) -> None:
    """Copy a file of weights, so that a study holds what its models start from, wherever that came from."""
    with write_atomically(path) as temporary:
        shutil.copyfile(source, temporary)


def check_weights(path: Path) -> None:
    """Check a file of weights against the SHA-256 in its name.

    Raises:
        CxrflowError: it is missing, is another content, or its name carries no SHA-256.
    """
    if not path.is_file():
        raise CxrflowError(f"{path} does not exist: {_by_hand(f'{PYTORCH}/{path.name}', path)}")
    if not sha256_file(path).startswith(expected_sha256(path)):
        raise CxrflowError(
            f"{path} is damaged: its SHA-256 begins with {sha256_file(path)[:12]}, and its name says "
            f"{expected_sha256(path)}: delete it and fetch it again"
        )
    check_unchanged(path)


def expected_sha256(path: Path) -> str:
    """Return the hex digits of the SHA-256 that a file's name carries.

    Raises:
        CxrflowError: it carries none.
    """
    match = re.fullmatch(r".+-([0-9a-f]{8,64})\.pth", path.name)
    if not match:
        raise CxrflowError(
            f"{path.name} carries no SHA-256: weights are named as torchvision does, like resnet34-b627a593.pth"
        )
    return match[1]


def _download(url: str, path: Path, temporary: Path, timeout_s: float) -> int:
    """Write what a URL gives to `temporary` and return its size in bytes."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as response, temporary.open("wb") as handle:
            expected_bytes = int(response.headers.get("Content-Length") or 0)
            shutil.copyfileobj(response, handle, MIB)
            size_bytes = handle.tell()
    except urllib.error.HTTPError as error:
        raise CxrflowError(
            f"{url}: the server says {error.code} {error.reason}; check weights_url, or {_by_hand(url, path)}"
        ) from None
    except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise CxrflowError(f"{url} cannot be reached ({reason}): {_by_hand(url, path)}") from None
    except ValueError as error:
        raise CxrflowError(f"{url!r} is not an address ({error}): check weights_url") from None
    if size_bytes < expected_bytes:
        raise CxrflowError(
            f"{url}: the connection broke after {size_bytes} of {expected_bytes} bytes; run the same command again"
        )
    return size_bytes


def _by_hand(url: str, path: Path) -> str:
    return f"without internet here, fetch {url} on a machine that has it, and copy it to {path}"
