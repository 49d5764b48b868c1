"""Snakemake as a chain of short jobs: the next head takes over what the last one has started."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.conftest import Login, Peace, epochs_done, model_folder, target, training_process, wait_for

pytestmark = pytest.mark.slow
SEEDS = range(1, 4)
OPTIONS = "--time=2 --signal=B:USR1@20 --mem=500"
ACTIVE = ("squeue", "-h", "-t", "PD,R,CG", "-o", "%j")


def test_a_study_of_more_than_two_minutes_is_finished_by_heads_of_two(
    login: Login, study: Path, undisturbed: Peace, cluster: Cluster
) -> None:
    """No job is submitted twice, and none is cancelled."""
    hold = ("--set-threads", "train=1", "--slurm-init-seconds-before-status-checks", "3", "--latency-wait", "10")
    words = [*hold, "--jobs", "1", "--config", "seeds=[0,1,2,3,4]", "--", *(target(seed=seed) for seed in SEEDS)]
    environment = {**login.environment, "HEAD_OPTIONS": OPTIONS}
    command = ["sbatch", "--parsable", *OPTIONS.split(), "profiles/slurm/head.sbatch", "config/proof.yaml", *words]
    subprocess.run(command, cwd=study, env=environment, check=True, capture_output=True)
    models = [model_folder(study, seed=seed) for seed in SEEDS]
    first = wait_for(lambda: next((each for each in models if epochs_done(each) >= 3), None), 600, "epoch 3")
    held = training_process(first)
    os.kill(held, signal.SIGSTOP)  # until the next head is there
    wait_for(lambda: "is taken over" in read_logs(study), 600, "the next head")
    os.kill(held, signal.SIGCONT)
    wait_for(lambda: not cluster.ask(*ACTIVE).split(), 900, "the end of the last head")
    said = read_logs(study)
    submitted = re.findall(r"submitted with SLURM jobid (\d+)", said)
    assert len(submitted) == len(SEEDS), said
    states = cluster.ask("sacct", "-nX", "-j", ",".join(submitted), "-o", "State").split()
    assert set(states) == {"COMPLETED"}, said
    undisturbed.train(*(target(seed=seed) for seed in SEEDS))
    for model in models:
        undisturbed.assert_equal(model)


def read_logs(study: Path) -> str:
    """Return what all heads have said."""
    return "".join(log.read_text() for log in (study / "logs").glob("head_*.log"))
