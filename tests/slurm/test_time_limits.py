"""A job's time limit comes near or passes: afterwards the weights equal the undisturbed training's."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.conftest import (
    ON_CLUSTER,
    Login,
    Peace,
    job_names,
    model_folder,
    target,
    training_process,
    wait_for,
    wait_for_epoch,
)

pytestmark = pytest.mark.slow

LONG_EPOCH_S = 45  # two such do not fit into the two minutes of the job


def test_time_limit_in_the_middle_of_an_epoch(login: Login, study: Path, undisturbed: Peace, cluster: Cluster) -> None:
    """A training that hangs is ended by Slurm at its limit, and the next attempt goes on."""
    model = model_folder(study)
    head = login.snakemake(study, target(), *ON_CLUSTER)
    wait_for_epoch(model, 5)
    job = login.job_of(model)
    os.kill(training_process(model), signal.SIGSTOP)
    cluster.ask("scontrol", "update", f"JobId={job}", "TimeLimit=1")
    wait_for(lambda: "TIMEOUT" in cluster.ask("sacct", "-n", "-X", "-j", job, "-o", "State"), 150, "the time limit")
    assert head.wait() == 0, head.said[-3000:]
    assert "resuming after epoch" in (model / "train.log").read_text()
    undisturbed.assert_equal(model)


def test_training_leaves_before_its_time_is_up(login: Login, study: Path, undisturbed: Peace, cluster: Cluster) -> None:
    """One epoch takes so long that no second one would fit."""
    model = model_folder(study)
    head = login.snakemake(study, target(), *ON_CLUSTER, "--set-resources", "train:runtime=2")
    wait_for_epoch(model, 3)
    training = training_process(model)
    os.kill(training, signal.SIGSTOP)
    time.sleep(LONG_EPOCH_S)
    os.kill(training, signal.SIGCONT)
    assert head.wait() == 0, head.said[-3000:]
    assert "the job's time ends in" in head.said
    assert "The next attempt resumes from there" in head.said
    assert "TIMEOUT" not in cluster.ask("sacct", "-n", "-X", "-o", "State,JobName", "--name", job_names(head))
    undisturbed.assert_equal(model)
