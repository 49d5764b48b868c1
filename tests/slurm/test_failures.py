"""What clusters do to a training, on a real cluster: afterwards its weights equal the undisturbed run's, bit for bit.

Disturbances that do not get in each other's way share one head: one training each, told apart by the seed.
"""

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cxrflow.models.checkpoints import load_model
from cxrflow.tables import read_table
from tests.models.toy import equal_weights
from tests.slurm.cluster import Cluster
from tests.slurm.conftest import (
    ON_CLUSTER,
    PROFILE,
    Head,
    Login,
    epochs_done,
    job_names,
    local,
    model_folder,
    target,
    training_process,
    wait_for,
    wait_for_epoch,
)
from tests.workflow.conftest import run_snakemake

pytestmark = pytest.mark.slow

KILLED, CANCELLED, REQUEUED, FULL = range(1, 5)  # the seed of each disturbed training


@pytest.fixture(scope="session")
def undisturbed(prepared: Path) -> Path:
    """Train every model that is disturbed below on this machine, in peace; return the folder of the study."""
    targets = [target(seed=seed) for seed in (0, KILLED, CANCELLED, REQUEUED)] + [target("long")]
    run = run_snakemake(prepared, *targets, *local(), "--cores", "2", "--config", "seeds=[0,1,2,3,4]")
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    kept = prepared.with_name("undisturbed")
    (prepared / "results/proof/models").rename(kept)
    return kept


def assert_equal(model: Path, undisturbed: Path) -> None:
    """Assert that a model's weights and history are those of the undisturbed training, and nothing is half-written."""
    other = undisturbed / model.relative_to(model.parents[4])
    one, two = load_model(model / "model.pt"), load_model(other / "model.pt")
    assert equal_weights(one.state_dict, two.state_dict)
    timed = {"seconds", "images_per_s"}
    cut = [[{k: row[k] for k in row.keys() - timed} for row in read_table(at / "history.csv")] for at in (model, other)]
    assert cut[0] == cut[1]
    assert not [path.name for path in model.rglob("*") if path.name.endswith(".tmp")]
    assert not (model / "resume").exists()


@dataclass
class Disturbed:
    """One head whose trainings are disturbed, each in its own way."""

    study: Path
    head: Head
    status: int
    jobs: dict[int, str]


@pytest.fixture(scope="module")
def disturbed(
    cluster: Cluster, prepared: Path, undisturbed: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Disturbed]:
    """Run four trainings and disturb each of them after some epochs."""
    login = Login(cluster, prepared, tmp_path_factory.mktemp("disturbed"))
    study = login.study("disturbed study")
    resume = model_folder(study, seed=FULL) / "resume"
    resume.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(resume)], check=True)
    try:
        targets = [target(seed=seed) for seed in range(1, 5)]
        head = login.snakemake(study, *targets, *ON_CLUSTER, "--config", "seeds=[0,1,2,3,4]")
        waiting = {KILLED: kill, CANCELLED: cancel, REQUEUED: requeue}
        jobs = {}
        while waiting:  # whichever trains first: two run at a time
            models = {seed: model_folder(study, seed=seed) for seed in waiting}
            seed = wait_for(lambda at=models: next((s for s in at if epochs_done(at[s]) >= 5), None), 120, "epoch 5")
            jobs[seed] = login.job_of(models[seed])
            waiting.pop(seed)(cluster, models[seed], jobs[seed])
        status = head.wait(300)
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
    wait_for(lambda: "PENDING" in cluster.ask("squeue", "-h", "-j", job, "-o", "%T"), 60, "the job in the queue")
    cluster.ask("scontrol", "update", f"JobId={job}", "StartTime=now")  # Slurm would wait for two minutes


def test_killed_training_goes_on_in_a_job_with_more_memory(
    disturbed: Disturbed, undisturbed: Path, cluster: Cluster
) -> None:
    model = model_folder(disturbed.study, seed=KILLED)
    assert_equal(model, undisturbed)
    assert "going on after epoch" in (model / "train.log").read_text()
    lines = cluster.ask("sacct", "-n", "-X", "-P", "-o", "ReqMem,Comment").splitlines()
    asked = [line.split("|")[0] for line in lines if line.endswith(f"scratch_base_{KILLED}")]
    assert len(asked) >= 2
    assert asked[-1] != asked[-2], "the second attempt asks for more memory"


def test_cancelled_job_is_noticed_and_its_training_goes_on(disturbed: Disturbed, undisturbed: Path) -> None:
    assert_equal(model_folder(disturbed.study, seed=CANCELLED), undisturbed)
    assert disturbed.jobs[CANCELLED] in disturbed.head.said


def test_requeued_job_goes_on(disturbed: Disturbed, undisturbed: Path) -> None:
    assert_equal(model_folder(disturbed.study, seed=REQUEUED), undisturbed)


def test_full_disk_is_named_and_the_rest_goes_on(disturbed: Disturbed) -> None:
    assert disturbed.status != 0
    assert "the disk is full: free space there and run the same command again" in disturbed.head.said
    assert str(model_folder(Path(), seed=FULL) / "train.log") in disturbed.head.said
    assert not (model_folder(disturbed.study, seed=FULL) / "model.pt").exists()


def test_error_in_a_job_and_no_gpu_are_shown_with_their_log(login: Login) -> None:
    study = login.study("errors")
    names = ("diverged", "on_gpu", "short")
    head = login.snakemake(study, *map(target, names), *ON_CLUSTER, "--retries", "0")
    assert head.wait(200) != 0
    for variant, message in (
        ("diverged", "Lower train.learning_rate tenfold"),
        ("on_gpu", "device is cuda"),
    ):
        log = model_folder(study, variant) / "train.log"
        assert message in log.read_text()
        assert message in head.said
        assert str(log.relative_to(study)) in head.said
        assert not (log.parent / "model.pt").exists()
    assert (model_folder(study, "short") / "model.pt").exists(), "one that fails does not stop the others"


def test_head_killed_while_a_job_runs(login: Login, undisturbed: Path, cluster: Cluster) -> None:
    """The orphan is found and waited for; the same command then goes on, and nothing is trained twice."""
    study = login.study("head killed")
    model = model_folder(study)
    head = login.snakemake(study, target(), *ON_CLUSTER)
    wait_for_epoch(model, 3)
    job = login.job_of(model)
    head.kill()
    again = login.snakemake(study, target(), *ON_CLUSTER)
    assert again.wait(60) != 0
    assert "cannot be locked" in again.said
    listed = login.script(study, "recover")
    assert job in listed.stdout
    assert "--wait" in listed.stdout
    waited = login.script(study, "recover", "--wait")
    assert waited.returncode == 0, waited.stdout + waited.stderr
    again = login.snakemake(study, target(), *ON_CLUSTER)
    assert again.wait(120) == 0, again.said[-3000:]
    assert_equal(model, undisturbed)


def test_ctrl_c_cancels_the_jobs_and_the_same_command_goes_on(
    login: Login, undisturbed: Path, cluster: Cluster
) -> None:
    study = login.study("ctrl-c")
    model = model_folder(study)
    head = login.snakemake(study, target(), *ON_CLUSTER)
    wait_for_epoch(model, 5)
    job = login.job_of(model)
    head.process.send_signal(signal.SIGINT)
    assert head.wait(60) != 0
    wait_for(lambda: job not in cluster.ask("squeue", "-h", "-t", "PD,R,CG", "-o", "%i").split(), 60, "the job's end")
    again = login.snakemake(study, target(), *ON_CLUSTER)
    assert again.wait(120) == 0, again.said[-3000:]
    assert "going on after epoch" in (model / "train.log").read_text()
    assert_equal(model, undisturbed)


def test_second_copy_waits_for_the_first_and_does_not_train_again(login: Login, undisturbed: Path) -> None:
    """Someone unlocks and starts again while the orphan still trains."""
    study = login.study("two copies")
    model = model_folder(study, "long")
    head = login.snakemake(study, target("long"), *ON_CLUSTER)
    wait_for_epoch(model, 3)
    head.kill()
    unlocked = login.snakemake(study, "--unlock", *PROFILE)
    assert unlocked.wait(60) == 0
    again = login.snakemake(study, target("long"), *ON_CLUSTER)
    assert again.wait(240) == 0, again.said[-3000:]
    assert_equal(model, undisturbed)


def test_time_limit_in_the_middle_of_an_epoch(login: Login, undisturbed: Path, cluster: Cluster) -> None:
    """A training that hangs is ended by Slurm at its limit, and the next attempt goes on."""
    study = login.study("time limit")
    model = model_folder(study)
    head = login.snakemake(study, target(), *ON_CLUSTER, "--set-resources", "train:runtime=1")
    wait_for_epoch(model, 5)
    job = login.job_of(model)
    os.kill(training_process(model), signal.SIGSTOP)
    wait_for(lambda: "TIMEOUT" in cluster.ask("sacct", "-n", "-X", "-j", job, "-o", "State"), 150, "the time limit")
    assert head.wait(200) == 0, head.said[-3000:]
    assert_equal(model, undisturbed)


def test_training_leaves_before_its_time_is_up(login: Login, undisturbed: Path, cluster: Cluster) -> None:
    study = login.study("deadline")
    model = model_folder(study, "long")
    head = login.snakemake(study, target("long"), *ON_CLUSTER, "--set-resources", "train:runtime=1")
    assert head.wait(300) == 0, head.said[-3000:]
    assert "the job's time is up in" in head.said
    assert "The next attempt goes on from there" in head.said
    assert "TIMEOUT" not in cluster.ask("sacct", "-n", "-X", "-o", "State,JobName", "--name", job_names(head))
    assert_equal(model, undisturbed)
