"""Which checks there are, and how one is run and read back. Found by walking this folder; nothing lists them.

Reads the modules' source for names and needs, so that a plan imports none of them; results/<study>/checks/<name>.json.
Tests are judged together, as one family, and share a file.
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
from cxrflow.checks.verdicts import ERROR, LEVELS, UNDECIDED, WORDS, Check, Verdict
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import read_json

if TYPE_CHECKING:
    from cxrflow.compare.collect import Results

FAMILY = "claims"  # the file of all tests
SYNTHETIC = " All X-rays of this study are synthetic: this says nothing about patients."


@dataclass(frozen=True)
class ListedCheck:
    """What a plan knows of a check."""

    module: str  # dotted name of the module that has it
    needs: tuple[str, ...]  # the files it reads, members of NEEDS
    is_test: bool  # whether it takes alpha


def list_checks() -> dict[str, ListedCheck]:
    """Return every check by its name, in the order of modules and of their lines, without importing any."""
    return {
        name: ListedCheck(f"cxrflow.checks.{module}", needs, is_test)
        for folder in cxrflow.checks.__path__
        for _, module, _ in pkgutil.iter_modules([folder])
        for name, (needs, is_test) in _find_decorated(Path(folder, f"{module}.py")).items()
    }


def list_verdicts() -> dict[str, tuple[str, ...]]:
    """Return the verdicts' files by name and the checks in each: all tests in one, every other check in its own."""
    checks = list_checks()
    alone = {name: (name,) for name, listed in checks.items() if not listed.is_test}
    return {FAMILY: tuple(name for name in checks if name not in alone), **alone}


@cache
def _find_decorated(path: Path) -> dict[str, tuple[tuple[str, ...], bool]]:
    """Return for each function decorated with `@check(kind, question, needs)` its needs, and whether it takes alpha."""
    found = {}
    module = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    for function in (node for node in module.body if isinstance(node, ast.FunctionDef)):
        for call in function.decorator_list:
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "check":
                needs = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}.get("needs", ())
                found[function.name] = needs, "alpha" in [each.arg for each in function.args.args]
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


def judge_checks(name: str, results: "Results") -> list[dict[str, Any]]:
    """Return what checks/<name>.json holds: a row of each of its checks, judged together by Holm's procedure.

    Raises:
        CxrflowError: there is no such file.
    """
    from cxrflow.results.families import step_down  # here: a plan needs no numbers

    known = list_verdicts()
    if name not in known:
        raise CxrflowError(f"{name!r} is not a check; known: {', '.join(known)}")
    found = step_down(
        known[name],
        lambda each, alpha: run_check(load_check(each), results, alpha),
        lambda row: row["level"] not in UNDECIDED,
    )
    return list(found.values())


def run_check(check: Check, results: "Results", alpha: float) -> dict[str, Any]:
    """Return the row of one check; of a test, at the given alpha.

    A check that stops is an error, with its traceback printed: never a pass, and never a reason to stop the study.
    """
    try:
        verdict = check.run(results, alpha) if check.is_test else check.run(results)
    except Exception as error:  # whatever it is: the page has to say so
        traceback.print_exc()
        verdict = Verdict(ERROR, f"{type(error).__name__}: {error}", remedy="See the check's log for where it stopped.")
    if verdict.level not in LEVELS:
        raise ValueError(f"check {check.name}: {verdict.level!r} is not one of {LEVELS}")
    about_patients = check.kind == "claim" and results.study.settings.phantoms is not None
    judged_at = f" Judged at {100 * alpha:.2g} %." if check.is_test and verdict.value is not None else ""
    low, high = verdict.interval or (None, None)
    return {
        "check": check.name,
        "kind": check.kind,
        "question": check.question,
        "verdict": WORDS[check.kind][verdict.level],
        **asdict(verdict),
        "text": verdict.text + judged_at + SYNTHETIC * about_patients,
        "alpha": alpha if check.is_test else None,
        "interval": None if low is None else [low, high],
    }


def check_rows(results: "Results") -> list[dict[str, Any]]:
    """Return one row per check from the JSON files: claims first, then cautions, in the order of `list_checks`.

    Its details are lines of one text.
    """
    found = {row["check"]: row for name in list_verdicts() for row in read_json(results.layout.check(name))}
    rows = [found[name] for name in list_checks()]
    for row in rows:
        row["value_low"], row["value_high"] = row.pop("interval") or (None, None)
        row["details"] = "\n".join(row["details"])
    return sorted(rows, key=lambda row: list(WORDS).index(row["kind"]))
