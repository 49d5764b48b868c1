"""A job's time limit comes near or passes: afterwards the weights equal the undisturbed training's."""

import time
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.conftest import Login, Peace, job_names, read_log, wait_for

pytestmark = pytest.mark.slow

LONG_EPOCH_S = 45  # two such do not fit into the two minutes of the job


def test_time_limit_in_the_middle_of_an_epoch(login: Login, study: Path, undisturbed: Peace, cluster: Cluster) -> None:
    """A training that hangs is ended by Slurm at its limit, and the next attempt goes on."""
    held = login.train(study, 5)
    cluster.ask("scontrol", "update", f"JobId={held.job}", "TimeLimit=1")
    state = ("sacct", "-n", "-X", "-j", held.job, "-o", "State")
    wait_for(lambda: "TIMEOUT" in cluster.ask(*state), 150, "the time limit")
    assert held.head.wait() == 0, held.head.said[-3000:]
    assert "resuming after epoch" in read_log(held.model)
    undisturbed.assert_equal(held.model)


def test_training_leaves_before_its_time_is_up(login: Login, study: Path, undisturbed: Peace, cluster: Cluster) -> None:
    """One epoch takes so long that no second one would fit."""
    held = login.train(study, 3, "--set-resources", "train:runtime=2")
    time.sleep(LONG_EPOCH_S)
    held.go_on()
    assert held.head.wait() == 0, held.head.said[-3000:]
    assert "the job's time ends in" in held.head.said
    assert "The next attempt resumes from there" in held.head.said
    assert "TIMEOUT" not in cluster.ask("sacct", "-n", "-X", "-o", "State,JobName", "--name", job_names(held.head))
    undisturbed.assert_equal(held.model)
