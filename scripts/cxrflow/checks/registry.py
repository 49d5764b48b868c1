"""Which checks there are, and how one is run and read back. Found by walking this folder; nothing lists them.

Reads the modules' source for names and needs, so that a plan imports none of them; results/<study>/checks/<name>.json.
"""

import ast
import pkgutil
import traceback
from dataclasses import asdict, dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cxrflow.checks
from cxrflow.checks.verdicts import ERROR, LEVELS, WORDS, Check, Verdict
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import read_json

if TYPE_CHECKING:
    from cxrflow.compare.collect import Results

SYNTHETIC = " All X-rays of this study are synthetic: this says nothing about patients."


@dataclass(frozen=True)
class ListedCheck:
    """What a plan knows of a check."""

    module: str  # dotted name of the module that has it
    needs: tuple[str, ...]  # the files it reads, members of NEEDS


def list_checks() -> dict[str, ListedCheck]:
    """Return every check by its name, in the order of modules and of their lines, without importing any."""
    return {
        name: ListedCheck(f"cxrflow.checks.{module}", needs)
        for folder in cxrflow.checks.__path__
        for _, module, _ in pkgutil.iter_modules([folder])
        for name, needs in _find_decorated(Path(folder, f"{module}.py")).items()
    }


@cache
def _find_decorated(path: Path) -> dict[str, tuple[str, ...]]:
    """Return name and needs of each function that is decorated with `@check(kind, question, needs)`."""
    found = {}
    module = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    for function in (node for node in module.body if isinstance(node, ast.FunctionDef)):
        for call in function.decorator_list:
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "check":
                needs = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}.get("needs", ())
                found[function.name] = needs
    return found


def load_check(name: str) -> Check:
    """Import the one module that has a check.

    Raises:
        CxrflowError: there is no check of this name.
    """
    listed = list_checks()
    if name not in listed:
        raise CxrflowError(f"{name!r} is not a check; known: {', '.join(listed)}")
    found: Check = getattr(import_module(listed[name].module), name)
    return found


def run_check(check: Check, results: "Results") -> dict[str, Any]:
    """Return what <name>.json holds.

    A check that stops is an error, with its traceback printed: never a pass, and never a reason to stop the study.
    """
    try:
        verdict = check.run(results)
    except Exception as error:  # whatever it is: the page has to say so
        traceback.print_exc()
        verdict = Verdict(ERROR, f"{type(error).__name__}: {error}", remedy="See the check's log for where it stopped.")
    if verdict.level not in LEVELS:
        raise ValueError(f"check {check.name}: {verdict.level!r} is not one of {LEVELS}")
    about_patients = check.kind == "claim" and results.study.settings.phantoms is not None
    low, high = verdict.interval or (None, None)
    return {
        "check": check.name,
        "kind": check.kind,
        "question": check.question,
        "verdict": WORDS[check.kind][verdict.level],
        **asdict(verdict),
        "text": verdict.text + SYNTHETIC * about_patients,
        "interval": None if low is None else [low, high],
    }


def check_rows(results: "Results") -> list[dict[str, Any]]:
    """Return one row per check from its JSON file: claims first, then cautions, in the order of `list_checks`.

    Its details are lines of one text.
    """
    rows = [read_json(results.layout.check(name)) for name in list_checks()]
    for row in rows:
        row["value_low"], row["value_high"] = row.pop("interval") or (None, None)
        row["details"] = "\n".join(row["details"])
    return sorted(rows, key=lambda row: list(WORDS).index(row["kind"]))
