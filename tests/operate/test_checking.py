"""Findings on made-up clusters: each fault is named with its remedy, and a good cluster has none."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cxrflow.errors import CxrflowError
from cxrflow.operate.checking import Finding, check_cluster
from cxrflow.operate.cluster_profile import Quantity, parse_quantity, parse_runtime, read_cluster_profile
from tests.operate.conftest import FakeCommand
from tests.workflow.conftest import ROOT

SINFO = "cpu*|up|1-00:00:00|64|257000|3|idle|(null)\ngpu|up|1-00:00:00|64|512000|2|mixed|gpu:a100:4(S:0-1)\n"
CONFIG = {
    "AccountingStorageType": "accounting_storage/slurmdbd",
    "AccountingStorageEnforce": "associations",
    "MinJobAge": "300 sec",
}


@pytest.fixture
def good(fake: FakeCommand, folder: Path, bare_path: Path) -> FakeCommand:
    """A cluster on which all is well, and the project's own profile."""
    (folder / "profiles").symlink_to(ROOT / "profiles")
    for name in ("sbatch", "squeue", "scancel", "sacct"):
        fake(name)
    fake("sinfo", SINFO)
    fake("sacctmgr", "lungs\n")
    set_config(bare_path, CONFIG)
    return fake


def set_config(bare_path: Path, config: dict[str, str]) -> None:
    lines = "\n".join(f"echo '{key} = {value}'" for key, value in config.items())
    script = bare_path / "scontrol"
    script.write_text(f"#!/bin/sh\nif [ $1 = ping ]; then echo 'Slurmctld(primary) at head is UP'; else {lines}\nfi\n")
    script.chmod(0o755)


def find(profile: str = "profiles/slurm") -> list[Finding]:
    return check_cluster(read_cluster_profile(Path(profile)))


def problems(profile: str = "profiles/slurm") -> list[str]:
    return [str(finding) for finding in find(profile) if finding.level == "PROBLEM"]


def write_profile(folder: Path, config: str, partitions: str = "partitions: {cpu: {}, gpu: {max_gpu: 4}}") -> str:
    mine = folder / "mine"
    mine.mkdir()
    (mine / "config.yaml").write_text(f"slurm-partition-config: mine/partitions.yaml\n{config}\n")
    (mine / "partitions.yaml").write_text(partitions)
    return "mine"


def test_a_good_cluster_has_no_problem_and_its_gpus_are_listed(good: FakeCommand) -> None:
    findings = find()
    assert [str(finding) for finding in findings if finding.level != "OK"] == []
    text = "\n".join(map(str, findings))
    assert (
        "a100 (up to 4 on a node); to choose a model: `gpu_model: a100` beside `gpu: 1` in profiles/slurm/site.yaml"
        in text
    )
    assert "account lungs" in text


def test_without_slurm_there_is_one_clear_line(folder: Path, bare_path: Path) -> None:
    (folder / "profiles").symlink_to(ROOT / "profiles")
    (line,) = problems()
    assert "no sbatch" in line
    assert "login node" in line


def test_a_controller_that_does_not_answer(good: FakeCommand) -> None:
    good("scontrol", "Slurmctld(primary) at head is DOWN\n", status=1)
    (line,) = problems()
    assert "head is DOWN" in line


@pytest.mark.parametrize(
    ("sinfo", "words"),
    [
        (SINFO.replace("gpu|up", "a100|up"), "partition gpu is not on this cluster -> rename it"),
        (SINFO.replace("gpu|up", "gpu|down"), "partition gpu is down"),
        (SINFO.replace("mixed", "drained"), "partition gpu: no node takes jobs (drained)"),
        (SINFO.replace("gpu:a100:4(S:0-1)", "(null)"), "partition gpu has no GPU"),
        (SINFO.replace("1-00:00:00|64|512000", "4:00:00|64|512000"), "has 240 minutes, less than train ask for"),
        (
            SINFO.replace("64|257000", "4|257000"),
            "has 4 CPUs of a node, less than index, preprocess ask for",
        ),
        (SINFO.replace("512000", "8000"), "has 8000 MB of a node, less than train ask for"),
    ],
)
def test_what_is_wrong_with_a_partition(good: FakeCommand, sinfo: str, words: str) -> None:
    good("sinfo", sinfo)
    assert any(words in line for line in problems()), problems()


def test_a_limit_that_no_job_reaches_and_a_retry_too_long_are_notes(good: FakeCommand) -> None:
    good("sinfo", SINFO.replace("|64|257000", "|32|257000").replace("gpu|up|1-00:00:00", "gpu|up|16:00:00"))
    notes = [str(finding) for finding in find() if finding.level == "note"]
    assert problems() == []
    assert any("allows 64 CPUs of a node in partition cpu, which has 32" in note for note in notes)
    assert any("less than retries ask for: train (attempt 3)" in note for note in notes)


def test_gpu_jobs_need_a_partition_with_gpus_in_the_file(good: FakeCommand, folder: Path) -> None:
    profile = write_profile(folder, "set-resources: {train: {gpu: 1}}", "partitions: {cpu: {}}")
    assert any("train ask for a GPU and no partition has any" in line for line in problems(profile))


@pytest.mark.parametrize(
    ("resources", "gpus"),
    [
        ("{mem_mb: 1}", 2),
        ('{gpu: 0, gres: "gpu:a100"}', 1),
        ("{gpu: 1}", 1),
        ('{gpu: 0, gres: "gpu:3"}', 3),
        ('{gpu: 0, gres: "gpu:a100:4"}', 4),
    ],
)
def test_a_training_asks_for_the_gpus_of_its_settings_unless_the_profile_says(
    folder: Path, resources: str, gpus: int
) -> None:
    profile = read_cluster_profile(Path(write_profile(folder, f"set-resources: {{train: {resources}}}")), train_gpus=2)
    assert [request.gpus for request in profile.requests if request.rule == "train"] == [gpus]


def test_jobs_never_ask_for_more_than_the_partitions_they_go_to(folder: Path) -> None:
    """GPU partitions often have shorter limits than the others."""
    shutil.copytree(ROOT / "profiles/slurm", folder / "profiles/slurm")
    site = "partitions: {cpu: {max_runtime: 9000, max_mem_mb: 500}, gpu: {max_runtime: 700, max_gpu: 1}}"
    (folder / "profiles/slurm/site.yaml").write_text(site)
    asked = {request.rule: request for request in read_cluster_profile(Path("profiles/slurm")).requests}
    assert asked["train"].runtime_minutes == Quantity(480, True, 700)
    assert asked["train"].mem_mb == Quantity(12000, True, 10**9)
    assert asked["index"].runtime_minutes == Quantity(120, True, 9000)
    assert asked["index"].mem_mb == Quantity(2000, True, 500)


def test_an_account_of_somebody_else(good: FakeCommand, folder: Path) -> None:
    profile = write_profile(folder, "default-resources: [slurm_account=hearts]")
    assert any(
        "account hearts is not yours -> `account` in mine/partitions.yaml is one of: lungs" in line
        for line in problems(profile)
    )


@pytest.mark.parametrize(("enforce", "level"), [("associations,limits", "PROBLEM"), ("none", "note")])
def test_no_account_at_all(good: FakeCommand, bare_path: Path, enforce: str, level: str) -> None:
    good("sacctmgr")
    set_config(bare_path, CONFIG | {"AccountingStorageEnforce": enforce})
    assert [f.level for f in find() if "no account for you" in f.text] == [level]


def test_a_cluster_without_accounting_needs_no_account(good: FakeCommand, bare_path: Path) -> None:
    set_config(bare_path, CONFIG | {"AccountingStorageType": "accounting_storage/none"})
    (bare_path / "sacctmgr").unlink()
    assert problems() == []


def test_a_queue_that_forgets_jobs_too_soon(good: FakeCommand, bare_path: Path) -> None:
    set_config(bare_path, CONFIG | {"MinJobAge": "59 sec"})
    (line,) = problems()
    assert "MinJobAge is 59 s" in line
    assert "to 19 or less" in line
    set_config(bare_path, CONFIG | {"MinJobAge": "60 sec"})
    assert problems() == []


def test_sacct_must_answer_if_the_profile_asks_it(good: FakeCommand, folder: Path) -> None:
    good("sacct", status=1, error="Slurm accounting storage is disabled")
    profile = write_profile(folder, "slurm-status-command: sacct")
    assert problems(profile) == ["PROBLEM  sacct failed: Slurm accounting storage is disabled"]


@pytest.mark.parametrize(
    ("value", "quantity"),
    [
        (4, Quantity(4)),
        ("480 * attempt", Quantity(480, True)),
        ("480*attempt", Quantity(480, True)),
        ("max(2 * input.size_mb, 1000)", None),
        (None, None),
    ],
)
def test_quantities_of_a_profile(value: object, quantity: Quantity | None) -> None:
    assert parse_quantity(value) == quantity
    assert parse_runtime(value) == quantity


def test_a_runtime_may_be_a_time() -> None:
    assert parse_runtime("12h") == Quantity(720)


def test_a_partition_file_that_is_not_there_is_named(folder: Path) -> None:
    (folder / "config.yaml").write_text("slurm-partition-config: no/such.yaml\n")
    with pytest.raises(CxrflowError, match=r"no/such\.yaml is not there"):
        read_cluster_profile(folder)


def test_the_command_ends_with_1_and_says_that_there_is_no_sbatch(bare_path: Path) -> None:
    command = [sys.executable, ROOT / "scripts/slurm_check.py"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 1, run.stderr
    assert "PROBLEM  no sbatch, squeue" in run.stdout
    assert "no snakemake on the PATH" in run.stdout
