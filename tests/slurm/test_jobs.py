"""What clusters do to a training, on a real cluster: afterwards its weights equal the undisturbed run's, bit for bit.

Disturbances that do not get in each other's way share one head: one training each, told apart by the seed.
"""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.conftest import (
    ON_CLUSTER,
    Head,
    Login,
    Peace,
    epochs_done,
    job_names,
    model_folder,
    target,
    training_process,
    wait_for,
)

pytestmark = pytest.mark.slow

KILLED, CANCELLED, REQUEUED, FULL = range(1, 5)  # the seed of each disturbed training


@dataclass
class Disturbed:
    """One head whose trainings are disturbed, each in its own way."""

    study: Path
    head: Head
    status: int
    jobs: dict[int, str]


@pytest.fixture(scope="module")
def disturbed(
    cluster: Cluster, prepared: Path, undisturbed: Peace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Disturbed]:
    """Run four trainings and disturb each of them after some epochs."""
    login = Login(cluster)
    study = Path(shutil.copytree(prepared, tmp_path_factory.mktemp("disturbed") / "a study"))
    resume = model_folder(study, seed=FULL) / "resume"
    resume.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(resume)], check=True)
    try:
        targets = [target(seed=seed) for seed in range(1, 5)]
        head = login.snakemake(study, *targets, *ON_CLUSTER, "--config", "seeds=[0,1,2,3,4]")
        waiting = {KILLED: kill, CANCELLED: cancel, REQUEUED: requeue}
        jobs = {}
        while waiting:  # whichever trains first: two run at a time, and neither is to end meanwhile
            models = {seed: model_folder(study, seed=seed) for seed in waiting}
            seed = wait_for(lambda at=models: next((s for s in at if epochs_done(at[s]) >= 5), None), 600, "epoch 5")
            jobs[seed] = login.job_of(models[seed])
            waiting.pop(seed)(cluster, models[seed], jobs[seed])
        start_now(cluster, jobs[REQUEUED])
        status = head.wait()
        undisturbed.train(*(target(seed=seed) for seed in (KILLED, CANCELLED, REQUEUED)))  # two at a time
        yield Disturbed(study, head, status, jobs)
    finally:
        login.close()
        subprocess.run(["umount", str(resume)], check=False)


def kill(_cluster: Cluster, model: Path, _job: str) -> None:
    """End the training as the kernel does when memory is used up: SIGKILL, exit status 137."""
    os.kill(training_process(model), signal.SIGKILL)


def cancel(cluster: Cluster, _model: Path, job: str) -> None:
    """Cancel the job."""
    cluster.ask("scancel", job)


def requeue(cluster: Cluster, _model: Path, job: str) -> None:
    """Put the job back into the queue, as happens when its node fails or a more urgent job needs it."""
    cluster.ask("scontrol", "requeue", job)


def start_now(cluster: Cluster, job: str) -> None:
    """Start a requeued job, with which Slurm would wait for two minutes."""
    wait_for(lambda: "PENDING" in cluster.ask("squeue", "-h", "-j", job, "-o", "%T"), 60, "the job in the queue")
    cluster.ask("scontrol", "update", f"JobId={job}", "StartTime=now")


def test_killed_training_goes_on_in_a_job_with_more_memory(
    disturbed: Disturbed, undisturbed: Peace, cluster: Cluster
) -> None:
    model = model_folder(disturbed.study, seed=KILLED)
    undisturbed.assert_equal(model)
    assert "resuming after epoch" in (model / "train.log").read_text()
    assert list_requests(cluster, disturbed.head, KILLED) == [("12000M", "08:00:00"), ("24000M", "08:00:00")]
    assert "Killed" in disturbed.head.said
    assert "the next attempt asks for more memory" in disturbed.head.said


def list_requests(cluster: Cluster, head: Head, seed: int) -> list[tuple[str, str]]:
    """Return the memory and the time that each attempt of a training has asked for."""
    said = cluster.ask("sacct", "-nXP", "--name", job_names(head), "-o", "ReqMem,Timelimit,Comment").splitlines()
    rows = [line.split("|") for line in said if line.endswith(f"scratch_base_{seed}")]
    return [(memory, limit) for memory, limit, _ in rows]


def test_cancelled_job_is_noticed_and_its_training_goes_on_with_the_same_request(
    disturbed: Disturbed, undisturbed: Peace, cluster: Cluster
) -> None:
    undisturbed.assert_equal(model_folder(disturbed.study, seed=CANCELLED))
    assert disturbed.jobs[CANCELLED] in disturbed.head.said
    assert list_requests(cluster, disturbed.head, CANCELLED) == [("12000M", "08:00:00")] * 2


def test_requeued_job_goes_on(disturbed: Disturbed, undisturbed: Peace) -> None:
    undisturbed.assert_equal(model_folder(disturbed.study, seed=REQUEUED))


def test_full_disk_is_named_and_not_tried_again_and_the_rest_goes_on(disturbed: Disturbed, cluster: Cluster) -> None:
    assert disturbed.status != 0
    assert len(list_requests(cluster, disturbed.head, FULL)) == 1
    assert re.search(
        r"epoch_\d+\.pt: the disk is full: free space there and run the same command again", disturbed.head.said
    )
    assert str(model_folder(Path(), seed=FULL) / "train.log") in disturbed.head.said
    assert not (model_folder(disturbed.study, seed=FULL) / "model.pt").exists()


@pytest.mark.parametrize(
    ("variant", "compute", "message"),
    [("diverged", "{}", "Lower train.learning_rate tenfold"), ("on_gpu", "{device: cuda}", "device is cuda")],
)
def test_error_in_a_job_and_no_gpu_are_shown_with_their_log_and_not_tried_again(
    login: Login, study: Path, variant: str, compute: str, message: str
) -> None:
    others = ["short"] if variant == "diverged" else []
    run = [*map(target, [variant, *others]), *ON_CLUSTER, "--config", f"compute={compute}"]
    head = login.snakemake(study, *run)
    assert head.wait() != 0
    log = model_folder(study, variant) / "train.log"
    assert message in log.read_text()
    assert message in head.said
    assert str(log.relative_to(study)) in head.said
    assert not (log.parent / "model.pt").exists()
    assert head.said.count("has been submitted") == 1 + len(others)
    assert "it is not tried again" in head.said
    for other in others:
        assert (model_folder(study, other) / "model.pt").exists(), "one that fails does not stop the others"
