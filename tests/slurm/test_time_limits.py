"""A job's time limit comes near or passes, or a more urgent job takes its GPU: the weights are the undisturbed ones."""

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
    asked = cluster.ask("sacct", "-nXP", "--name", job_names(held.head), "-o", "ReqMem,Timelimit").splitlines()
    assert asked == ["12000M|00:01:00", "12000M|16:00:00"], "more time, and nothing else"
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


def test_preempted_job_is_noticed_and_its_training_goes_on_with_the_same_request(
    login: Login, study: Path, undisturbed: Peace, cluster: Cluster
) -> None:
    """A job in a partition that goes first takes both GPUs for a second."""
    held = login.train(study, 3)
    node = cluster.ask("sinfo", "-h", "-o", "%n").strip()
    cluster.ask("scontrol", "create", "PartitionName=urgent", f"Nodes={node}", "PriorityTier=9")
    cluster.ask("sbatch", "--partition=urgent", "--gpus=2", "--mem=100", "--output=/dev/null", "--wrap=sleep 1")
    assert held.head.wait() == 0, held.head.said[-3000:]
    assert f"job {held.job}: PREEMPTED: the next attempt asks for the same" in held.head.said
    asked = cluster.ask("sacct", "-nXP", "--name", job_names(held.head), "-o", "ReqMem,Timelimit").split()
    assert asked == ["12000M|08:00:00"] * 2
    undisturbed.assert_equal(held.model)


def test_node_that_failed_is_left_out_and_nothing_else_changes(login: Login, study: Path, cluster: Cluster) -> None:
    """The cluster has no second node, so the next attempt cannot be submitted: what it asks for is in the message."""
    held = login.train(study, 1, "--retries", "1")
    node = cluster.ask("sinfo", "-h", "-o", "%n").strip()
    cluster.ask("scontrol", "update", f"JobId={held.job}", "Requeue=0")
    cluster.ask("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    try:
        assert held.head.wait() != 0
    finally:
        cluster.ask("scontrol", "update", f"NodeName={node}", "State=RESUME", check=False)  # or it is back
    assert f"job {held.job}: NODE_FAIL: the next attempt asks for the same" in held.head.said
    again = next(line for line in held.head.said.splitlines() if "sbatch --parsable" in line)
    assert f"--exclude={node}" in again
    assert "-t 480" in again
    assert "--mem 12000" in again
