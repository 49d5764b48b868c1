"""Who has opened the test rows of a dataset: one signed record per opening, in a folder beside test.csv.

Every opening writes a file of its own and none is written twice, so jobs on many nodes need no lock. Each has the
SHA-256 of the record before it: one that is changed or removed is missed by the one that came after. And each has that
of the analysis plan in force: what was decided later is seen.

Writes data/{dataset}/test_openings/<UTC time>-<first 12 digits of what opened>.json.
"""

import getpass
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import read_json, read_record, sha256_file, sign_record, write_json

OPENINGS = "test_openings"
PLAN = "analysis_plan.json"  # of the study, above data/{dataset}


@dataclass(frozen=True)
class Opening:
    """One opening of the test rows.

    Attributes:
        opener: a model, as dataset/backbone/init/variant/seed0, or the stage that opened them for no model.
        opener_sha256: of its model.pt, or of the code and the train rows that a stage without one predicts with.
        test_sha256: of test.csv.
        time: UTC, ISO 8601.
        user, host: who, and on which machine.
        previous: SHA-256 of the record before; empty for the first.
        plan: SHA-256 of the analysis plan in force; empty without one.
    """

    opener: str
    opener_sha256: str
    test_sha256: str
    time: str
    user: str
    host: str
    previous: str = ""
    plan: str = ""


def record_opening(test: Path, opener: str, opener_sha256: str) -> None:
    """Record that the rows of test.csv are opened; `Opening` says by what."""
    now, before = datetime.now(UTC), _list_records(test.parent / OPENINGS)
    opening = Opening(
        opener=opener,
        opener_sha256=opener_sha256,
        test_sha256=sha256_file(test),
        time=now.isoformat(),
        user=_name_user(),
        host=platform.node(),
        previous=sha256_file(before[-1]) if before else "",
        plan=_find_plan(test),
    )
    name = f"{now:%Y%m%dT%H%M%S.%fZ}-{opener_sha256[:12]}.json"
    write_json(test.parent / OPENINGS / name, sign_record(asdict(opening)))


def read_openings(folder: Path) -> list[Opening]:
    """Read the openings of a dataset, the first one first; `folder` is its OPENINGS, which need not exist.

    Raises:
        CxrflowError: a record was changed, or one is gone that a later one names.
    """
    records = {sha256_file(path): read_record(path) for path in _list_records(folder)}
    openings = [
        Opening(**{name: text for name, text in record.items() if name != "sha256"}) for record in records.values()
    ]
    if lost := {opening.previous for opening in openings} - {"", *records}:
        raise CxrflowError(
            f"{folder}: {len(lost)} of its records changed or removed since, so nobody can say how often the test rows"
            " were opened: copy the originals back"
        )
    return openings


def find_opening_faults(root: Path) -> Iterator[str]:
    """Yield what is wrong with the openings of every dataset below a folder, a line for each dataset."""
    for folder in sorted(root.rglob(OPENINGS)):
        try:
            read_openings(folder)
        except CxrflowError as error:
            yield str(error)


def _find_plan(test: Path) -> str:
    """Return the SHA-256 of the last version in the plan of the study that test.csv is of."""
    plan = test.absolute().parent.parent.parent / PLAN
    return str(read_json(plan)["versions"][-1]["sha256"]) if plan.exists() else ""


def _list_records(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.json"))


def _name_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in some containers a user has a number only
        return f"uid {os.getuid()}"
