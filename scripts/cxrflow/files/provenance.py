"""What every file of a study was made from, in a folder .provenance beside it, and the check of a whole study.

A stage that ends writes one record, .provenance/<its first output>.json: the stage, its settings, and the SHA-256 of
all that it read and made. Whoever reads such a file later checks it (atomic.check_unchanged); the record moves with
the folder, whatever becomes of Snakemake's own notes.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import PROVENANCE, READ, WRITTEN, parse_json, recorded_hashes, sha256_file, write_json
from cxrflow.files.code_hash import find_own_version

UNRECORDED = (".log", ".tsv")  # beside the outputs, and made by no stage: logs, and the times that Snakemake measures


def record_path(output: Path) -> Path:
    """Return the record of a stage by the first of its outputs."""
    return output.parent / PROVENANCE / f"{output.name}.json"


def write_record(stage: str, settings: Mapping[str, Any], outputs: Iterable[Path]) -> None:
    """Record what this process has made of what it has read.

    Args:
        stage: that ran.
        settings: by the name of its parameter; plain values.
        outputs: files, or their folder; all that this process wrote into the same folder counts.
    """
    folders = {Path(os.path.abspath(path if path.is_dir() else path.parent)) for path in outputs}
    made = sorted(path for path in WRITTEN if path.is_file() and path.parent in folders)
    if not made:
        return
    folder = made[0].parent
    content = {
        "stage": stage,
        "cxrflow": find_own_version(),
        "settings": settings,
        "inputs": {
            os.path.relpath(path, folder): READ[path] for path in sorted(READ) if path not in WRITTEN and path.exists()
        },
        "outputs": {path.name: sha256_file(path) for path in made},
    }
    write_json(record_path(made[0]), content)


def made_with(output: Path) -> dict[str, Any] | None:
    """Return the record of the stage that made a file; None where there is none."""
    for path in sorted((output.parent / PROVENANCE).glob("*.json"), reverse=True):
        record: dict[str, Any] = parse_json(path, path.read_bytes())
        if output.name in record["outputs"]:
            return record
    return None


def verify_files(root: Path) -> tuple[int, list[str]]:
    """Read every recorded file below a folder in full; return how many there are, and a line for every fault.

    Raises:
        CxrflowError: there is no record below the folder.
    """
    records = sorted(root.rglob(f"{PROVENANCE}/*.json"))
    if not records:
        raise CxrflowError(f"{root} has no records of what was made: name the folder of a study, results/<study>")
    n_files, faults = 0, list[str]()
    for folder in sorted({path.parent.parent for path in records}):
        n_files += len(recorded_hashes(folder))
        faults += [*_changed_files(folder), *_unrecorded_files(folder)]
    return n_files, faults + [line for path in records for line in _outdated_inputs(path)]


def _changed_files(folder: Path) -> Iterator[str]:
    for name, (stage, expected) in sorted(recorded_hashes(folder).items()):
        path = folder / name
        if not path.is_file():
            yield f"{path} is missing: {stage} made it"
        elif sha256_file(path) != expected:
            yield f"{path} was changed or damaged after {stage} made it"


def _unrecorded_files(folder: Path) -> Iterator[str]:
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    for name in names:
        if name not in recorded_hashes(folder) and not name.endswith(UNRECORDED):
            yield f"{folder / name} was made by no stage that is recorded there"


def _outdated_inputs(record: Path) -> Iterator[str]:
    content, folder = parse_json(record, record.read_bytes()), record.parent.parent
    output = folder / next(iter(content["outputs"]))
    for name, sha256 in content["inputs"].items():
        path = Path(os.path.normpath(folder / name))
        _, now = recorded_hashes(path.parent).get(path.name, ("", sha256))
        if now != sha256:
            yield f"{output} was made from another {path} than the one that is there now"
