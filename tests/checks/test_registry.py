"""Walks every check: found without imports, run with no more than it says it needs, never silently passed."""

import shutil
from pathlib import Path

import pytest

from cxrflow.checks.registry import SYNTHETIC, judge_checks, list_checks, load_check, run_check
from cxrflow.checks.verdicts import ERROR, LEVELS, NEEDS, WORDS, Check, Verdict
from cxrflow.compare.collect import Results, collect_results
from cxrflow.errors import CxrflowError
from cxrflow.results.families import ALPHA
from tests.compare.fake_study import ONE_MODEL, FakeStudy, collect_fake

FILES = {
    "plan": "analysis_plan.json",
    "index": "data/*/index.json",
    "selection": "selection.json",
    "copies": "data/*s.csv",  # copies.csv and groups.csv
    "split": "data/*/*t.csv",  # split.csv and test.csv
    "probes": "probes/*/*.*",
    "backbones": "backbones/*.json",
    "training": "models/**/training.json",
    "history": "models/**/history.csv",
    "metrics": "models/**/metrics.json",
    "predictions": "models/**/predictions.csv",
    "mirrored": "models/**/mirrored.csv",
    "gradcam": "models/**/gradcam.*",
}


def test_every_need_has_files():
    assert set(FILES) == set(NEEDS)


@pytest.mark.parametrize("name", list_checks())
def test_what_is_listed_is_what_is_imported(name: str):
    check, listed = load_check(name), list_checks()[name]
    assert isinstance(check, Check)
    assert (check.name, check.needs, check.is_test) == (name, listed.needs, listed.is_test)
    assert check.question[-1] in ".?"
    assert check.kind in WORDS


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, results: Results) -> Path:
    """A study's folder without any file that a check could need."""
    folder = tmp_path_factory.mktemp("bare")
    shutil.copytree(results.root, folder, dirs_exist_ok=True)
    for pattern in FILES.values():
        for path in folder.glob(pattern):
            path.rename(path.with_name(path.name + ".hidden"))
    return folder


@pytest.mark.parametrize("name", list_checks())
def test_a_check_reads_no_more_than_it_needs(name: str, bare: Path, results: Results):
    check = load_check(name)
    shown = [
        path.rename(path.with_name(path.name.removesuffix(".hidden")))
        for need in check.needs
        for path in bare.glob(FILES[need] + ".hidden")
    ]
    try:
        models = [model.id.path for model in results.models]
        row = run_check(check, collect_results(bare, results.study, models), ALPHA)
    finally:
        for path in shown:
            path.rename(path.with_name(path.name + ".hidden"))
    assert row == run_check(check, results, ALPHA)
    assert row["level"] in set(LEVELS) - {ERROR}
    assert row["text"].endswith(".")
    if check.kind == "caution":  # it stands on the first screen
        assert len(row["text"]) < 400, "say in `text` what the answer is, and the rest in `details`"


def test_claims_on_synthetic_images_say_so(tmp_path: Path):
    results = collect_fake(tmp_path, FakeStudy(config={**ONE_MODEL, "phantoms": {}}))
    for name in list_checks():
        check = load_check(name)
        row = run_check(check, results, ALPHA)
        assert row["level"] != ERROR, row["text"]
        assert row["text"].endswith(SYNTHETIC) == (check.kind == "claim")


def test_a_check_that_stops_is_an_error_and_never_a_pass(results: Results, capsys: pytest.CaptureFixture[str]):
    def stop(results: Results) -> Verdict:
        raise ZeroDivisionError("no patients")

    row = run_check(Check("broken", "caution", "Does it run?", (), stop), results, ALPHA)
    assert (row["level"], row["verdict"], row["value"]) == (ERROR, "could not be checked", None)
    assert "ZeroDivisionError: no patients" in row["text"]
    assert "Traceback" in capsys.readouterr().err


def test_unknown_names_and_words_are_refused(results: Results):
    with pytest.raises(CxrflowError, match="'no_such' is not a check; known: patients"):
        load_check("no_such")
    with pytest.raises(CxrflowError, match="'no_such' is not a check; known: claims, patients"):
        judge_checks("no_such", results)
    with pytest.raises(ValueError, match="needs are of"):
        Check("a", "caution", "A?", ("weather",), lambda results: Verdict("pass", "A."))
    with pytest.raises(ValueError, match="is not one of"):
        run_check(Check("a", "caution", "A?", (), lambda results: Verdict("fine", "A.")), results, ALPHA)
