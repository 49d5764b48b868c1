"""What Slurm's commands print is read as its manual pages say."""

import math
from pathlib import Path

import pytest

from cxrflow.operate import slurm
from cxrflow.operate.slurm import SlurmError, list_jobs, list_partitions, parse_gpus, parse_gres, parse_limit
from tests.operate.conftest import FakeCommand


def test_a_command_that_is_not_there_is_named(bare_path: Path) -> None:
    with pytest.raises(SlurmError, match="no squeue on the PATH"):
        slurm.list_jobs(Path())


def test_what_a_failed_command_says_reaches_the_user(fake: FakeCommand) -> None:
    fake("squeue", status=1, error="slurm_load_jobs error: Unable to contact slurm controller\n")
    with pytest.raises(SlurmError, match="squeue failed: slurm_load_jobs error: Unable to contact"):
        slurm.list_jobs(Path())


def test_a_command_that_hangs_is_given_up(bare_path: Path) -> None:
    (bare_path / "sinfo").write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    (bare_path / "sinfo").chmod(0o755)
    with pytest.raises(SlurmError, match=r"gave no answer in 0\.2 s"):
        slurm.run_slurm("sinfo", timeout_s=0.2)


def test_jobs_with_odd_folders_and_empty_fields_are_read(fake: FakeCommand) -> None:
    fake("squeue", "slurm_load_jobs warning\n12_[1-3]|PENDING|0:00||name|(null)|Priority|/a b/c|d\n")
    (job,) = list_jobs(Path("/a b/c|d"))
    assert (job.job_id, job.comment, job.nodes, job.folder) == ("12_[1-3]", "", "", "/a b/c|d")


def test_partitions(fake: FakeCommand) -> None:
    fake(
        "sinfo",
        "cpu*|up|1-00:00:00|64|257000|3|mixed|(null)|(null)\ngpu|down|infinite|32|512000|1|drained*|gpu:2|fast,a100\n",
    )
    cpu, gpu = list_partitions()
    assert (cpu.partition, cpu.is_default, cpu.is_up, cpu.max_minutes, cpu.is_usable) == ("cpu", True, True, 1440, True)
    assert (gpu.partition, gpu.is_default, gpu.is_up, gpu.gres, gpu.is_usable) == ("gpu", False, False, "gpu:2", False)
    assert (cpu.features, gpu.features) == (frozenset(), {"fast", "a100"})


@pytest.mark.parametrize(
    ("state", "usable"), [("idle~", True), ("allocated", True), ("draining", False), ("idle*", False), ("DOWN", False)]
)
def test_nodes_that_take_jobs(fake: FakeCommand, state: str, usable: bool) -> None:
    fake("sinfo", f"cpu|up|infinite|4|8000|1|{state}|(null)|\n")
    assert list_partitions()[0].is_usable is usable


def test_accounts_and_qualities_of_service_are_listed_once(fake: FakeCommand) -> None:
    fake("sacctmgr", "lungs|normal,fast\nhearts|normal\nlungs|normal\n")
    assert slurm.list_accounts() == (["hearts", "lungs"], ["fast", "normal"])


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("infinite", math.inf), ("30:30", 30.5), ("12:00:00", 720), ("1-00:00:00", 1440), ("2-01:30:00", 2970)],
)
def test_time_limits(text: str, minutes: float) -> None:
    """As sinfo prints them: two numbers are minutes and seconds, which the plugin's reader takes for hours."""
    assert parse_limit(text) == minutes


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("(null)", {}),
        ("gpu:2", {"": 2}),
        ("gpu", {"": 1}),
        ("gpu:a100", {"a100": 1}),
        ("gpu:a100:4(S:0-1)", {"a100": 4}),
        ("gpu:a100:2(S:0,2),gpu:v100:1,lustre:1", {"a100": 2, "v100": 1}),
        ("gpu:1g.5gb:7", {"1g.5gb": 7}),
    ],
)
def test_gpus(gres: str, gpus: dict[str, int]) -> None:
    assert parse_gpus(gres) == gpus


def test_generic_resources_are_told_apart_by_kind_and_model() -> None:
    assert parse_gres("gpu:a100:4(S:0-1),lscratch:500G,gpu") == {"gpu:a100": 4, "lscratch": 500, "gpu": 1}
