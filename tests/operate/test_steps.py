"""The list of expected steps says the same as the rules."""

import csv
import re
from pathlib import Path

import pytest

from cxrflow.operate.choosing import read_study
from cxrflow.operate.steps import RULES, Step, expected_steps
from tests.workflow.conftest import ROOT, copy_workflow, run_snakemake

CONFIGS = ["config/demo.yaml", "config/lungs.yaml"]


@pytest.mark.parametrize("config", CONFIGS)
def test_the_steps_are_those_of_the_rules(tmp_path: Path, config: str) -> None:
    clone = copy_workflow(tmp_path / "clone")
    steps = expected_steps(read_study(clone / config))
    summary = run_snakemake(clone, "--summary", "--configfile", config).stdout
    theirs = {row["output_file"]: row["rule"] for row in csv.DictReader(summary.splitlines(), delimiter="\t")}
    assert {str(path): step.rule for step in steps for path in step.outputs} == theirs
    plan = run_snakemake(clone, "-n", "-p", "--configfile", config).stdout
    assert {str(step.log) for step in steps} == set(re.findall(r"> (\S+) 2>&1$", plan, re.MULTILINE))


@pytest.mark.parametrize("config", CONFIGS)
def test_wildcards_come_in_the_order_of_the_path_as_snakemake_reads_them(config: str) -> None:
    for step in expected_steps(read_study(ROOT / config)):
        in_order = ".*".join(re.escape(value) for value in step.wildcards)
        assert re.search(in_order, str(step.outputs[0])), step


def test_every_rule_is_known_by_name() -> None:
    studies = [read_study(ROOT / config) for config in CONFIGS]
    assert {step.rule for study in studies for step in expected_steps(study)} == RULES


def test_a_comment_is_the_plugins() -> None:
    step = Step("train", ("covid", "resnet34", "scratch", "base", "0"), (Path("model.pt"),), Path("train.log"))
    assert step.comment == "rule_train_wildcards_covid_resnet34_scratch_base_0"
    assert Step("report", (), (Path("report.html"),), Path("report.log")).comment == "rule_report"
