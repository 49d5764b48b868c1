"""Snakemake on the login node dies, is stopped or is started twice: nothing is lost, and nothing runs twice."""

import os
import signal
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.conftest import (
    ON_CLUSTER,
    PROFILE,
    Login,
    Peace,
    model_folder,
    read_log,
    target,
    training_process,
    wait_for,
    wait_for_epoch,
)

pytestmark = pytest.mark.slow


def test_head_killed_while_a_job_runs(login: Login, study: Path, undisturbed: Peace, cluster: Cluster) -> None:
    """The orphan is found and waited for; the same command then goes on, and nothing is trained twice."""
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
    assert again.wait() == 0, again.said[-3000:]
    undisturbed.assert_equal(model)


def test_ctrl_c_cancels_the_jobs_and_the_same_command_goes_on(
    login: Login, study: Path, undisturbed: Peace, cluster: Cluster
) -> None:
    model = model_folder(study)
    head = login.snakemake(study, target(), *ON_CLUSTER)
    wait_for_epoch(model, 5)
    job = login.job_of(model)
    head.process.send_signal(signal.SIGINT)
    assert head.wait(60) != 0
    wait_for(lambda: job not in cluster.ask("squeue", "-h", "-t", "PD,R,CG", "-o", "%i").split(), 60, "the job's end")
    again = login.snakemake(study, target(), *ON_CLUSTER)
    assert again.wait() == 0, again.said[-3000:]
    assert "resuming after epoch" in (model / "train.log").read_text()
    undisturbed.assert_equal(model)


def test_second_copy_waits_for_the_first_and_does_not_train_again(
    login: Login, study: Path, undisturbed: Peace
) -> None:
    """Someone unlocks and starts again while the orphan still trains."""
    model = model_folder(study)
    head = login.snakemake(study, target(), *ON_CLUSTER)
    wait_for_epoch(model, 3)
    orphan = training_process(model)
    os.kill(orphan, signal.SIGSTOP)  # takes its time
    head.kill()
    unlocked = login.snakemake(study, "--unlock", *PROFILE)
    assert unlocked.wait(60) == 0
    again = login.snakemake(study, target(), *ON_CLUSTER)
    wait_for(lambda: "works on the training of" in read_log(model), 90, "the second copy")
    os.kill(orphan, signal.SIGCONT)
    assert again.wait() == 0, again.said[-3000:]
    assert "already exists for exactly this configuration" in (model / "train.log").read_text()
    undisturbed.assert_equal(model)
