"""Write results/<study>/summary/: tables, figures, and provenance.json, which says where the numbers come from.

Reads git and the installed packages for the provenance: code, versions, settings, seeds and machines.
"""

import platform
import subprocess
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from cxrflow.compare.collect import Results
from cxrflow.config.environment import list_packages
from cxrflow.config.parsing import settings_dict
from cxrflow.files.atomic import write_json
from cxrflow.files.code_hash import find_own_version
from cxrflow.report.manifest import FIGURES, PROVENANCE, TABLES
from cxrflow.report.tabular import write_table_forms

NO_CHECKOUT = "not a git checkout"
GIT_TIMEOUT_S = 20


def write_summary(folder: Path, results: Results) -> None:
    """Write SUMMARY_FILES: figures first, then tables, then where the numbers come from."""
    for name, figure in FIGURES.items():
        resolve_name(figure.draw)(results, folder / f"{name}.png")
    for name, table in TABLES.items():
        write_table_forms(folder, name, table, resolve_name(table.rows)(results))
    write_json(folder / PROVENANCE, collect_provenance(results))


def collect_provenance(results: Results) -> dict[str, Any]:
    """Return what provenance.json holds; no date is in it, so that equal results give equal files.

    `trainings` and `timings` list each machine once, with the versions that ran there; `packages` are of the
    environment that wrote the summary.
    """
    settings = results.study.settings
    return {
        "study": settings.study,
        "version": find_own_version(),
        "commit": find_commit(Path(__file__).resolve().parent),
        "python": platform.python_version(),
        "packages": list_packages(),
        "seeds": {
            "training": list(settings.seeds),
            "split": settings.split.seed,
            "bootstrap": settings.score.bootstrap_seed,
            "cap": settings.index.cap_seed,
        },
        "trainings": _list_machines(results),
        "timings": [
            {key: profile.get(key) for key in ("backbone", "host", "cpu", "tool")}
            for profile in results.profiles.values()
        ],
        "models": [model.id.path for model in results.models],
        "config": settings_dict(settings),
    }


def _list_machines(results: Results) -> list[dict[str, Any]]:
    """Return each machine that trained, once, with the number of models."""
    machines: dict[tuple[Any, ...], dict[str, Any]] = {}
    for model in results.models:
        entry = {key: model.training[key] for key in ("host", "device", "device_name", "threads", "versions")}
        key = (*(entry[name] for name in ("host", "device_name", "threads")), tuple(entry["versions"].items()))
        machines.setdefault(key, {**entry, "models": 0})["models"] += 1
    return list(machines.values())


def find_commit(folder: Path) -> str:
    """Return the commit of the code in `folder`, and whether files differ from it; or that it is not a checkout."""
    commit = _ask_git(folder, "rev-parse", "HEAD")
    if not commit:
        return NO_CHECKOUT
    changed = _ask_git(folder, "status", "--porcelain", "--untracked-files=no")
    return f"{commit} with uncommitted changes" if changed else commit


def _ask_git(folder: Path, *arguments: str) -> str:
    """Return what git prints, or nothing where there is no git, no checkout, or no answer in time."""
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=GIT_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
