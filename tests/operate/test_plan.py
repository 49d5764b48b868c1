"""A whole plan: sums, wall time, disk and text, of two trainings by hand."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cxrflow.operate.dry_run import Job
from cxrflow.operate.estimate import Known
from cxrflow.operate.plan import make_plan
from cxrflow.operate.plan_text import describe_plan
from cxrflow.operate.run_profile import RunProfile
from tests.operate.measured import train_job, write_training

EPOCHS_S = 4 * 210 * 0.1  # of each training
LOCAL = RunProfile(Path("profiles/local"), is_cluster=False, limits={"cores": 4})
CLUSTER = RunProfile(Path("profiles/slurm"), is_cluster=True, limits={"jobs": 9})
PACK = Job(
    7, "preprocess", outputs=("images.npy",), wildcards={"dataset": "covid", "recipe": "128px-equalized"}, threads=4
)
JOBS = [train_job(1, seed=0, threads=4), train_job(2, seed=1, threads=4), PACK]


@pytest.fixture
def known(results: Path, know: Callable[..., Known]) -> Known:
    write_training(results / "other", train_s=0.1, val_s=0, size_px=128, startup_s=0)
    (results / "other/models/covid/resnet34/scratch/base/seed0/model.pt").write_bytes(b"x" * 1000)
    return know()


def test_sums_and_wall_time_leave_out_what_was_not_measured(known: Known) -> None:
    plan = make_plan(JOBS, LOCAL, known)
    assert set(plan.not_measured) == {7}
    assert plan.cpu_s.seconds == pytest.approx(2 * 4 * EPOCHS_S)
    assert plan.gpu_s.seconds == 0
    assert plan.wall_s.seconds == pytest.approx(2 * EPOCHS_S)
    assert plan.chain_s == pytest.approx(EPOCHS_S)
    assert next(iter(plan.jobs)) == 7, "a job is listed after those it waits for"
    assert make_plan(JOBS, CLUSTER, known).wall_s.seconds == pytest.approx(EPOCHS_S)


def test_one_machine_that_names_no_gpus_hands_none_out(known: Known) -> None:
    """The rule train asks for one wherever it runs."""
    jobs = [replace(job, resources={"gpu": 1}) for job in JOBS]
    local = RunProfile(Path("profiles/local"), is_cluster=False, limits={"cores": 9})
    assert make_plan(jobs, local, known).gpu_s.seconds == 0
    assert make_plan(jobs, replace(local, limits={"cores": 9, "gpu": 1}), known).gpu_s.seconds > 0


def test_gpus_count_where_they_are_asked_for(known: Known) -> None:
    for asked in ({"gpu": 2}, {"gpu": 0, "gres": "gpu:a100:2"}):
        jobs = [replace(job, resources=asked) for job in JOBS]
        assert make_plan(jobs, CLUSTER, known).gpu_s.seconds == pytest.approx(2 * 2 * EPOCHS_S)


def test_disk_is_a_byte_a_pixel_and_the_size_of_earlier_models(known: Known) -> None:
    sizes = {use.what: use.size for use in make_plan(JOBS, CLUSTER, known).disk}
    assert sizes == {"packed images": 300 * 128 * 128, "models": 2000, "checkpoints while training": 16_000}
    assert {use.what: use.size for use in make_plan(JOBS, LOCAL, known).disk}["checkpoints while training"] == 8_000


def test_the_text_names_what_is_not_measured_and_how_to_measure_it(known: Known) -> None:
    text = describe_plan(make_plan(JOBS, LOCAL, known), free_bytes=1 << 40)
    assert "Left out, as not measured: preprocess (1)." in text
    assert "make demo" in text
    assert "NOT ENOUGH" not in text
    assert "NOT ENOUGH" in describe_plan(make_plan(JOBS, LOCAL, known), free_bytes=1000)


def test_too_short_a_request_is_warned_of(known: Known) -> None:
    jobs = [replace(job, resources={"runtime": 1}) for job in JOBS]
    assert "WARNING: 2 train job(s) ask for less time" in describe_plan(make_plan(jobs, CLUSTER, known), 1 << 40)
    assert "WARNING" not in describe_plan(make_plan(jobs, LOCAL, known), 1 << 40), "nothing is killed on one machine"
    jobs = [replace(job, resources={"runtime": 2}) for job in JOBS]
    assert "WARNING" not in describe_plan(make_plan(jobs, CLUSTER, known), 1 << 40)


def test_jobs_beside_snakemake_are_shown_as_local_and_ask_for_nothing(known: Known) -> None:
    partitions: dict[str, dict[str, float]] = {"cpu": {"max_runtime": 1440}}
    profile = replace(CLUSTER, partitions=partitions)
    jobs = [replace(job, resources={"runtime": 1, "mem_mb": 500}) for job in JOBS]
    jobs = [replace(jobs[0], is_local=True), *jobs[1:]]
    text = describe_plan(make_plan(jobs, profile, known), 1 << 40)
    rows = [line.split() for line in text.splitlines() if line.startswith("train ")]
    assert ["train", "1", "4", "local"] in [row[:4] for row in rows]
    assert ["train", "1", "4", "500", "1", "cpu"] in [row[:6] for row in rows]
    assert "WARNING: 1 train job(s)" in text, "nobody ends a local job for its time"


def test_no_jobs_no_plan(known: Known) -> None:
    assert describe_plan(make_plan([], LOCAL, known), 1).startswith("Nothing to do")
