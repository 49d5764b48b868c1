"""What a delivered folder is made of, so that it runs alone: the library's own modules, versions, golden images.

The folder needs Python with the packages of REQUIRED and nothing of this repository.
"""

import json
from importlib.metadata import version
from pathlib import Path

from cxrflow.deliver.delivered import DeliveredModel
from cxrflow.deliver.folder import GOLDEN, MODEL, SUMS, format_sums
from cxrflow.deliver.tool import Tool, to_probabilities
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import write_bytes, write_text
from cxrflow.files.code_hash import SCRIPTS, collect_modules

ENTRY = "cxrflow.deliver.command"  # what `run` imports; the modules that it needs go along
REQUIRED = (
    "numpy",
    "onnxruntime",
    "opencv-python-headless",
    "pillow",
    "pydicom",
    "fastapi",  # and uvicorn: for the page only
    "uvicorn",
)
TOLERANCE = 1e-3  # of a golden image's probabilities; other processors differ by some 1e-6
RUN = '''#!/usr/bin/env python3
"""Reads chest X-rays with the model in this folder: `python run --help`. Research software, no medical device."""

import sys
from pathlib import Path

try:
    from cxrflow.deliver.command import main
except ImportError as error:
    sys.exit(f"error: {error}. Install what this folder needs: python -m pip install -r requirements.txt")

if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent))
'''


def write_folder(folder: Path, files: dict[str, bytes]) -> None:
    """Write files and, last, the list of them; what an earlier delivery wrote and this one does not is removed.

    files: {path in the folder: content}.
    """
    clear_folder(folder)
    for name, data in files.items():
        write_bytes(folder / name, data)
    if "run" in files:
        (folder / "run").chmod(0o755)
    write_text(folder / SUMS, format_sums(files))


def clear_folder(folder: Path) -> None:
    """Remove the files of an earlier delivery and nothing else."""
    sums = folder / SUMS
    if not sums.exists():
        return
    names = [line.split("  ", 1)[-1] for line in sums.read_text(encoding="utf-8").splitlines()]
    sums.unlink()
    for name in names:
        path = folder / name
        if path.resolve().is_relative_to(folder.resolve()):
            path.unlink(missing_ok=True)


def collect_library() -> dict[str, bytes]:
    """Return `run`, requirements.txt, the licence and the modules that read X-rays, {path in the folder: content}."""
    pages = [path for path in (SCRIPTS / "cxrflow/deliver").iterdir() if path.suffix not in (".py", ".pyc")]
    modules = [*collect_modules(ENTRY).values(), *(path for path in pages if path.is_file())]
    return {
        "run": RUN.encode(),
        "requirements.txt": "".join(f"{name}=={version(name)}\n" for name in REQUIRED).encode(),
        "LICENSE": (SCRIPTS.parent / "LICENSE").read_bytes(),
        **{path.relative_to(SCRIPTS).as_posix(): path.read_bytes() for path in modules},
    }


def make_golden(model: bytes, images: dict[str, bytes]) -> dict[str, bytes]:
    """Return the golden images and, as GOLDEN, what the model says of them, {path in the folder: content}.

    images: {file name: content}, drawn ones only, never a patient's.

    Raises:
        CxrflowError: the model cannot read one of them.
    """
    tool, probabilities = Tool(DeliveredModel(model, Path(MODEL), threads=1)), {}
    for name, data in images.items():
        answer = tool.read(name, data)
        if answer.problem:
            raise CxrflowError(f"the golden image {name} cannot be read: {answer.problem}")
        probabilities[f"golden/{name}"] = to_probabilities(answer).tolist()
    text = json.dumps({"tolerance": TOLERANCE, "probabilities": probabilities}, indent=2)
    return {**{f"golden/{name}": data for name, data in images.items()}, GOLDEN: text.encode()}
