"""What a study will ask and how it will decide, written down with its time, and whether test rows were opened earlier.

analysis_plan.json has every version of the plan with its SHA-256 and the time of writing; the last one is in force.
"""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cxrflow.checks.registry import list_checks, load_check
from cxrflow.checks.verdicts import PASS, UNKNOWN, WARN, Verdict, check
from cxrflow.compare.backbones import DETECTABLE
from cxrflow.compare.collect import Results
from cxrflow.compare.permutation import REARRANGEMENTS
from cxrflow.config.parsing import settings_dict
from cxrflow.config.settings import StudySettings
from cxrflow.files.atomic import read_json, write_json
from cxrflow.files.formats import count_words
from cxrflow.results.families import ALPHA
from cxrflow.results.findings import FINDING_METRICS
from cxrflow.results.metrics import METRICS

# The tests that are corrected for their number together, and by what.
FAMILIES = {
    "backbones": "per dataset the pairs of backbones from scratch (primary): Holm",
    "transfer": "all rows of transfer minus scratch (secondary): Holm",
    "ablation": "per dataset and backbone all variants, of searches too, minus base (secondary): Holm",
    "thumbnail": "per dataset all models minus the thumbnail: Holm",
    "claims": "the paper's claims that are tests: Holm; what a clock or no test answers is not one of them",
}
PLANNED = ("study", "backbones", "transfer", "seeds", "ablation", "tune", "select", "score")  # parts of the config
SELECTION = (
    "candidates are the base models, and by select.ensembles and select.flip the mean of all seeds of one and of its"
    " answers for image and mirror image; an ensemble is one, so that its interval is over patients alone;"
    " per dataset the fastest candidate whose validation macro F1 is not inferior to that of any other candidate: the"
    " one-sided bounds of the differences lie above -margin, corrected for all candidates (Holm); else the best; of"
    " equally fast ones the higher score, then fewer parameters"
)


def plan_analysis(settings: StudySettings) -> dict[str, Any]:
    """Return what is decided without the test: models, questions, families, selection, metrics and resampling."""
    parts = settings_dict(settings)
    if any(data.findings for data in settings.datasets.values()):  # config/findings.py: what such a study goes without
        return {key: parts[key] for key in (*PLANNED, "datasets")} | {"metrics": [*FINDING_METRICS]}
    return {
        **{key: parts[key] for key in PLANNED},
        "datasets": sorted(settings.datasets),
        "questions": {name: [(one := load_check(name)).kind, one.question] for name in list_checks()},
        "families": FAMILIES,
        "selection": SELECTION,
        "alpha": ALPHA,
        "metrics": list(METRICS),
        "rearrangements": REARRANGEMENTS,
        "detectable_standard_errors": DETECTABLE,
    }


def write_plan(path: Path, plan: dict[str, Any]) -> dict[str, Any]:
    """Add a plan to the versions in a file, with its time, unless it is the last one; return the version in force."""
    versions = read_json(path)["versions"] if path.exists() else []
    digest = hashlib.sha256(json.dumps(plan, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    if not versions or versions[-1]["sha256"] != digest:
        versions.append({"sha256": digest, "time": datetime.now(UTC).isoformat(), "plan": plan})
        write_json(path, {"versions": versions})
    in_force: dict[str, Any] = versions[-1]
    return in_force


@check(
    "caution", "Was the analysis planned before the test images were opened?", needs=("plan", "split", "predictions")
)
def planned_before_test(results: Results) -> Verdict:
    """The plan in force against the one that every opening of the test rows has on record."""
    plan = read_json(results.layout.analysis_plan())["versions"][-1]
    written = datetime.fromisoformat(plan["time"])
    openings = [opening for dataset in results.datasets.values() for opening in dataset.openings]
    about = f"Plan {plan['sha256'][:12]} was written at {written:%Y-%m-%d %H:%M:%S} UTC."
    if not openings:
        return Verdict(UNKNOWN, f"{about} No opening of the test images is on record.")
    other = sum(opening.plan != plan["sha256"] for opening in openings)
    if other:
        return Verdict(
            WARN,
            f"{about} Test images had been opened {count_words(other, 'time')} under another plan or none: what was"
            " decided since may have been decided on test scores.",
            value=float(other),
            threshold=0.0,
        )
    return Verdict(PASS, f"{about} Every opening of the test images was under it.", value=0.0, threshold=0.0)
