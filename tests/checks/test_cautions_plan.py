"""The analysis plan is dated once, changes visibly, and is held against the openings of the test rows."""

from dataclasses import replace
from pathlib import Path

from cxrflow.checks.cautions_plan import plan_analysis, planned_before_test, write_plan
from cxrflow.compare.collect import collect_results
from cxrflow.config.settings import SelectSettings
from cxrflow.files.atomic import read_json
from cxrflow.files.openings import record_opening
from tests.compare.fake_study import ONE_MODEL, FakeStudy, write_fake_study


def test_a_plan_keeps_its_time_until_it_changes_and_is_held_against_openings(tmp_path: Path) -> None:
    study, models = write_fake_study(tmp_path)
    path, results = tmp_path / "analysis_plan.json", collect_results(tmp_path, study, models)
    first = write_plan(path, plan_analysis(study.settings))  # again: the study was made with it
    found = planned_before_test.run(results)
    assert found.level == "pass"
    assert first["sha256"][:12] in found.text
    changed = replace(study.settings, select=SelectSettings(margin=0.3))
    second = write_plan(path, plan_analysis(changed))
    assert second["sha256"] != first["sha256"]
    assert [version["sha256"] for version in read_json(path)["versions"]] == [first["sha256"], second["sha256"]]
    changed_later = planned_before_test.run(results)
    assert (changed_later.level, changed_later.value) == ("warn", len(models))


def test_every_opening_has_the_plan_in_force_on_record_and_another_one_is_flagged(tmp_path: Path) -> None:
    study, models = write_fake_study(tmp_path, FakeStudy(config=ONE_MODEL))
    path, results = tmp_path / "analysis_plan.json", collect_results(tmp_path, study, models)
    first = write_plan(path, plan_analysis(study.settings))["sha256"]
    test = results.layout.test("covid")
    second = write_plan(path, plan_analysis(replace(study.settings, select=SelectSettings(margin=0.3))))["sha256"]
    record_opening(test, "probe", "0" * 64)
    write_plan(path, plan_analysis(study.settings))  # back, and younger than the opening under the other one
    path.rename(path.with_suffix(".away"))
    record_opening(test, "probe", "1" * 64)
    path.with_suffix(".away").rename(path)
    assert [opening.plan for opening in results.datasets["covid"].openings] == [first, second, ""]
    found = planned_before_test.run(results)
    assert (found.level, found.value) == ("warn", 2)
