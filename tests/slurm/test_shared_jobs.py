"""Trainings that share a Slurm job: fewer jobs, the same models, and a failed one costs the others nothing."""

import os
import re
import signal
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
    training_process,
    wait_for,
)

pytestmark = pytest.mark.slow
SHARED = ("--config", "seeds=[0]", "compute={trainings_per_job: 3}")


def list_jobs(cluster: Cluster, head: Head) -> list[tuple[str, str]]:
    """Return what each job of a head was for and the time that it asked for, in the order of their submission."""
    said = cluster.ask("sacct", "-nXP", "--name", job_names(head), "-o", "Comment,Timelimit")
    return re.findall(r"rule_((?:models|scores)\d+\w+)\|(\S+)", said)


def test_killed_training_is_repeated_without_its_finished_neighbour_and_a_failed_one_keeps_nobody_back(
    login: Login, cluster: Cluster, study: Path, undisturbed: Peace
) -> None:
    """Of three, one ends, one is killed, and one diverges; the next run goes without that one."""
    profile = study / "profiles/slurm/config.yaml"
    profile.write_text(profile.read_text().replace("train: ?ask(480,", "train: ?ask(1000,"))
    killed, other = model_folder(study), model_folder(study, "short")
    head = login.snakemake(study, "models", *ON_CLUSTER, *SHARED, "ablation={variants: [short, diverged]}")
    wait_for(lambda: epochs_done(killed) >= 5, 600, "epoch 5")
    os.kill(training_process(killed), signal.SIGKILL)
    assert head.wait() != 0
    whole_day = ("models0_evaluate_train", "1-00:00:00")  # as much as the partition has; they would take more together
    assert list_jobs(cluster, head) == [whole_day, whole_day]
    assert "the next attempt asks for more memory" in head.said
    assert "it is not tried again" in head.said
    assert "already exists for exactly this configuration" in (other / "train.log").read_text()
    assert "resuming after epoch" in (killed / "train.log").read_text()
    assert not (model_folder(study, "diverged") / "model.pt").exists()
    undisturbed.assert_equal(killed)
    undisturbed.assert_equal(other)

    head = login.snakemake(study, "models", *ON_CLUSTER, *SHARED, "ablation={variants: [short]}")
    assert head.wait() == 0, head.said[-3000:]
    assert list_jobs(cluster, head) == [("scores0_score", "02:00:00")]
