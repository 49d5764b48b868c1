"""The delivered folder: which files it has, and that they are those that were delivered.

SHA256SUMS, written last, lists every file with its SHA-256, as `sha256sum --check` reads it. It finds damage and mixed
copies; it does not prove who made them.
"""

from pathlib import Path

from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import sha256_bytes

SUMS = "SHA256SUMS"
MODEL = "model.onnx"
CALIBRATION = "calibration.json"
INPUT_CHECK = "input_check.npz"
GOLDEN = "golden/golden.json"  # the images beside it, and what the model must say of each
AGAIN = "copy the whole delivered folder again, or make it again (`snakemake deliver`)"


def format_sums(files: dict[str, bytes]) -> str:
    """Return the text of SHA256SUMS for {path in the folder: content}."""
    return "".join(f"{sha256_bytes(data)}  {name}\n" for name, data in sorted(files.items()))


def list_files(folder: Path) -> dict[str, str]:
    """Return {path in the folder: SHA-256} of the files that were delivered.

    Raises:
        CxrflowError: it is no delivered folder, or not a whole one.
    """
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
        listed = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    except FileNotFoundError:
        raise CxrflowError(
            f"{folder} has no {SUMS}, so it is no delivered folder, or not a whole one: {AGAIN}"
        ) from None
    except ValueError:
        raise CxrflowError(f"{folder / SUMS} is damaged: {AGAIN}") from None
    if MODEL not in listed:
        raise CxrflowError(f"{folder} holds no model; its README.md says why")
    return listed


def read_files(folder: Path) -> dict[str, bytes]:
    """Read every delivered file, checked; return {path in the folder: content}.

    Raises:
        CxrflowError: one is missing, damaged or changed.
    """
    contents: dict[str, bytes] = {}
    for name, digest in list_files(folder).items():
        try:
            contents[name] = (folder / name).read_bytes()
        except OSError:
            raise CxrflowError(f"{folder / name} is missing or cannot be read: {AGAIN}") from None
        if sha256_bytes(contents[name]) != digest:
            raise CxrflowError(f"{folder / name} is not the file that was delivered, but changed or damaged: {AGAIN}")
    return contents
