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
from cxrflow.files.atomic import PROVENANCE, READ, WRITTEN, read_record, sha256_file, sign_record, write_json
from cxrflow.files.code_hash import find_own_version
from cxrflow.files.openings import OPENINGS, find_opening_faults

# Made by no stage: logs, the times that Snakemake measures, results/README.md.
UNRECORDED = (".log", ".tsv", "README.md")
PASSING = {"resume", "kept"}  # folders of unfinished and of earlier work, which comes and goes


def record_path(output: Path) -> Path:
    """Return the record of a stage by the first of its outputs."""
    return output.parent / PROVENANCE / f"{output.name}.json"


def write_record(stage: str, settings: Mapping[str, Any], outputs: Iterable[Path]) -> None:
    """Record what this process has made of what it has read.

    Args:
        stage: that ran.
        settings: by the name of its parameter; plain values.
        outputs: files: all that this process wrote into the same folder counts; or a folder: all below it.
    """
    outputs = [Path(os.path.abspath(path)) for path in outputs]
    written = sorted(path for path in WRITTEN if path.is_file())
    for folder in sorted({path if path.is_dir() else path.parent for path in outputs}):
        made = [p for p in written if p.parent == folder or (folder in outputs and p.is_relative_to(folder))]
        if made:
            record = {
                "stage": stage,
                "cxrflow": find_own_version(),
                "settings": settings,
                "inputs": {
                    os.path.relpath(p, folder): READ[p] for p in sorted(READ) if p not in WRITTEN and p.exists()
                },
                "outputs": {str(p.relative_to(folder)): sha256_file(p) for p in made},
            }
            save_record(folder / PROVENANCE / f"{made[0].name}.json", record)


def save_record(path: Path, record: dict[str, Any]) -> None:
    """Write a record, signed."""
    write_json(path, sign_record(record))


def made_with(output: Path) -> dict[str, Any] | None:
    """Return the record of the stage that made a file; None where there is none.

    Raises:
        ChangedFileError: a record beside the file was changed.
    """
    for path in sorted((output.parent / PROVENANCE).glob("*.json"), reverse=True):
        record = read_record(path)
        if output.name in record["outputs"]:
            return record
    return None


def verify_files(root: Path) -> tuple[int, list[str]]:
    """Read every recorded file below a folder in full; return how many there are, and a line for every fault.

    Raises:
        CxrflowError: there is no record below the folder.
    """
    records, faults = dict[Path, dict[str, Any]](), list[str]()
    for path in sorted(root.rglob(f"{PROVENANCE}/*.json"), key=lambda path: path.stat().st_mtime_ns):
        try:
            records[path] = read_record(path)
        except CxrflowError as error:
            faults.append(str(error))
    if not records and not faults:
        raise CxrflowError(f"{root} has no records of what was made: name the folder of a study, results/<study>")
    made = {
        path.parent.parent / name: (record["stage"], sha256)  # of the latest record that names it
        for path, record in records.items()
        for name, sha256 in record["outputs"].items()
    }
    faults += [*_changed_files(made), *_unrecorded_files(root, made), *find_opening_faults(root)]
    return len(made), faults + [
        line for path in sorted(records) for line in _other_inputs(path, records[path], made, root)
    ]


Made = dict[Path, tuple[str, str]]  # {file: (stage, SHA-256)}


def _changed_files(made: Made) -> Iterator[str]:
    for path, (stage, expected) in sorted(made.items()):
        if not path.is_file():
            yield f"{path} is missing: {stage} made it"
        elif sha256_file(path) != expected:
            yield f"{path} was changed or damaged after {stage} made it"


def _unrecorded_files(root: Path, made: Made) -> Iterator[str]:
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        is_passing = {"resume", OPENINGS, "__pycache__"} & {*parts} or any(part.startswith(".") for part in parts)
        if path not in made and not is_passing and path.is_file() and not path.name.endswith(UNRECORDED):
            yield f"{path} was made by no stage that is recorded there"


def _other_inputs(path: Path, record: dict[str, Any], made: Made, root: Path) -> Iterator[str]:
    folder = path.parent.parent
    output = folder / next(iter(record["outputs"]))
    for name, sha256 in record["inputs"].items():
        source = Path(os.path.normpath(folder / name))
        if source in made and made[source][1] != sha256:
            yield f"{output} was made from another {source} than the one that is there now"
        elif (
            source not in made and source.is_relative_to(root) and not source.exists() and not PASSING & {*source.parts}
        ):
            yield f"{output} was made from {source}, which is no longer there"
