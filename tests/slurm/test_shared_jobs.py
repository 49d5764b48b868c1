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
SHARED = ("--config", "seeds=[0,1]", "compute={trainings_per_job: 3}")


def list_jobs(cluster: Cluster, head: Head) -> list[tuple[str, str]]:
    """Return what each job of a head was for and the time that it asked for, in the order of their submission."""
    said = cluster.ask("sacct", "-nXP", "--name", job_names(head), "-o", "Comment,Timelimit")
    return re.findall(r"rule_((?:models|scores)\d+\w+)\|(\S+)", said)


def test_killed_training_is_repeated_without_its_finished_neighbour_and_a_failed_one_keeps_nobody_back(
    login: Login, cluster: Cluster, study: Path, undisturbed: Peace
) -> None:
    """Seed 0 ends, seed 1 is killed; afterwards both are as undisturbed. Then one that diverges shares their job."""
    first, second = model_folder(study), model_folder(study, seed=1)
    profile = study / "profiles/slurm/config.yaml"
    profile.write_text(profile.read_text().replace("train: ?ask(480,", "train: ?ask(1000,"))
    head = login.snakemake(study, "models", *ON_CLUSTER, *SHARED)
    wait_for(lambda: min(map(epochs_done, (first, second))) >= 5, 300, "epoch 5 of the second training")
    os.kill(training_process(second), signal.SIGKILL)
    assert head.wait() == 0, head.said[-3000:]
    whole_day = ("models0_evaluate_train", "1-00:00:00")  # as much as the partition has; they would take more together
    assert list_jobs(cluster, head) == [whole_day, whole_day, ("scores0_score", "02:00:00")]
    assert "the next attempt asks for more memory" in head.said
    assert "already exists for exactly this configuration" in (first / "train.log").read_text()
    assert "resuming after epoch" in (second / "train.log").read_text()
    undisturbed.assert_equal(first)
    undisturbed.assert_equal(second)

    variants = ("ablation={variants: [diverged, short]}", "seeds=[0]", "compute={trainings_per_job: 3}")
    head = login.snakemake(study, "models", *ON_CLUSTER, "--config", *variants)
    assert head.wait() != 0
    assert list_jobs(cluster, head) == [whole_day]
    assert "it is not tried again" in head.said
    assert (model_folder(study, "short") / "predictions.csv").exists()
    assert not (model_folder(study, "diverged") / "model.pt").exists()

    variants = ("ablation={variants: [short]}", "seeds=[0]", "compute={trainings_per_job: 3}")
    head = login.snakemake(study, "models", *ON_CLUSTER, "--config", *variants)
    assert head.wait() == 0, head.said[-3000:]
    assert list_jobs(cluster, head) == [("scores0_score", "01:00:00")]
