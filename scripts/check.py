r"""Answer a question about a study: the paper's claims, or something that could weaken the study's numbers.

Reads those results of the study that the check needs; writes its verdict as a JSON list of one: level (pass, warn,
fail, unknown or error), value, interval, threshold, text and remedy. The claims that are tests are one check, `claims`,
and one list: they are judged together (Holm). A check that fails to run is an error, never a pass. Where the settings
are strict, a caution that is a serious concern stops with exit code 1.

    python scripts/check.py --check claims --results results/demo --verdict verdict.json \
        --config '{"study": "demo", "datasets": {"covid": {"reader": "covid_radiography", "folder": "covid"}}}' \
        --models covid/resnet34/scratch/base/seed0
"""

from pathlib import Path

from cxrflow.checks.registry import judge_checks
from cxrflow.checks.verdicts import FAIL
from cxrflow.compare.collect import collect_results
from cxrflow.config.settings import StudySettings
from cxrflow.config.stages import Output, run_stage
from cxrflow.config.study import Study
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import write_json


def check_study(*, check: str, results: Path, config: StudySettings, models: list[str], verdict: Output) -> None:
    """Run one check, or all claims that are tests, on the named models.

    check: its name, that of a decorated function in scripts/cxrflow/checks; or claims
    results: the study's folder, results/<study>
    config: the whole study's settings, as JSON.
    models: the models to look at, as dataset/backbone/init/variant/seed0
    verdict: JSON file to write
    """
    rows = judge_checks(check, collect_results(results, Study(config), models))
    write_json(verdict, rows)
    for row in rows:
        print(f"{row['question']} {row['verdict']}: {row['text']}")
        if config.strict and (row["kind"], row["level"]) == ("caution", FAIL):
            raise CxrflowError(
                f"{row['question']} A {row['verdict']}: {row['text']} {row['remedy']} With strict: false the study goes"
                " on and its page says so"
            )


if __name__ == "__main__":
    run_stage(check_study)
