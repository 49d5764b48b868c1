"""Jobs are read from what Snakemake prints; what it cannot plan reaches the user in its own words."""

import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from cxrflow.errors import CxrflowError
from cxrflow.operate.dry_run import Job, find_dependencies, parse_jobs, run_dry_run
from cxrflow.operate.measurements import BENCHMARKS, LAST_OUTPUTS, PICTURES
from tests.workflow.conftest import copy_workflow

RECORDED = (Path(__file__).parent / "dry_run.txt").read_text()  # of Snakemake 9.27
FILES = {**LAST_OUTPUTS, **{f"{rule} picture": glob for rule, globs in PICTURES.items() for glob in globs}}


def test_a_recorded_dry_run_gives_its_jobs() -> None:
    jobs = {job.rule: job for job in parse_jobs(RECORDED)}
    assert set(jobs) == {"fetch_weights", "index", "preprocess", "split", "train", "evaluate", "score"}
    train = jobs["train"]
    assert (train.jobid, train.threads, train.ask("mem_mb"), train.ask("runtime"), train.ask("gpu")) == (
        5, 4, 12000, 480, 1,
    )  # fmt: skip
    assert train.title == "train covid resnet34 imagenet base 0"
    assert "results/lungs/models/covid/resnet34/imagenet/base/seed0/model.pt" in train.outputs
    assert len(train.inputs) == 3
    assert "disk_mb" not in train.resources, "what Snakemake does not know yet is no request"
    assert jobs["index"].priority == 100
    assert jobs["split"].threads == 1
    assert {job.rule for job in jobs.values() if job.is_local} == {"fetch_weights", "split", "score"}


def test_jobs_wait_for_those_that_make_their_inputs() -> None:
    jobs = parse_jobs(RECORDED)
    rule = {job.jobid: job.rule for job in jobs}
    after = {rule[jobid]: {rule[other] for other in others} for jobid, others in find_dependencies(jobs).items()}
    assert after["train"] == {"preprocess", "split", "fetch_weights"}
    assert after["index"] == set()
    assert after["score"] == {"evaluate"}


def test_rules_that_only_collect_are_no_jobs() -> None:
    assert parse_jobs("rule all:\n    input: a\n    jobid: 0\n\nrule b:\n    output: a\n    jobid: 1\n") == [
        Job(1, "b", outputs=("a",))
    ]


def test_a_failed_dry_run_says_why_in_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Snakefile").write_text(
        "from snakemake.exceptions import WorkflowError\nraise WorkflowError('no tea')\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CxrflowError, match="no tea"):
        run_dry_run([])


@pytest.mark.slow
def test_the_demo_is_planned_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One real dry run: the workflow prints jobs in full, and times are looked for where the rules keep them."""
    monkeypatch.chdir(copy_workflow(tmp_path / "it's a clone"))
    jobs, warnings = run_dry_run(["--profile", "profiles/demo", "--cores", "1"])
    assert warnings == ""
    assert sum(job.rule == "train" for job in jobs) == 12
    assert {job.rule for job in jobs if job.is_local} == {"split", "score"}
    assert all(find_dependencies(jobs)[job.jobid] for job in jobs if job.rule == "summarize")
    for name, glob in FILES.items():
        made = [path for job in jobs if job.rule == name.split()[0] for path in job.outputs]
        assert any(fnmatch(path, f"results/demo/{glob}") for path in made), f"{name}: no job makes {glob}"
    rules = "".join(path.read_text() for path in Path("workflow/rules").glob("*.smk"))
    kept = set(re.findall(r"^rule (\w+):(?:(?!^rule ).)*?^    benchmark:", rules, flags=re.MULTILINE | re.DOTALL))
    assert kept == {*BENCHMARKS, "train"}
    told = subprocess.run(
        [sys.executable, "scripts/plan.py", "--profile", "profiles/demo"], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    assert re.search(r"^train +12 +1 +not measured$", told.stdout, flags=re.MULTILINE)
    assert "make demo" in told.stdout
