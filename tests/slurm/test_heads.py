"""Snakemake on the login node dies, is stopped or is started twice: nothing is lost, and nothing runs twice."""

import re
import shutil
import signal
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.conftest import ON_CLUSTER, PROFILE, Login, Peace, read_log, target, wait_for

pytestmark = pytest.mark.slow


def test_head_killed_while_a_job_runs(login: Login, study: Path, undisturbed: Peace) -> None:
    """The orphan is found and waited for; the same command then goes on, and nothing is trained twice."""
    held = login.train(study, 3)
    held.head.kill()
    again = login.snakemake(study, target(), *ON_CLUSTER)
    assert again.wait(60) != 0
    assert "cannot be locked" in again.said
    listed = login.script(study, "recover")
    assert held.job in listed.stdout
    assert "--wait" in listed.stdout
    held.go_on()
    waited = login.script(study, "recover", "--wait")
    assert waited.returncode == 0, waited.stdout + waited.stderr
    login.train_again(study)
    undisturbed.assert_equal(held.model)


def test_ctrl_c_cancels_the_jobs_and_the_same_command_goes_on(
    login: Login, study: Path, undisturbed: Peace, cluster: Cluster
) -> None:
    held = login.train(study, 5)
    held.head.process.send_signal(signal.SIGINT)
    assert held.head.wait(60) != 0
    active = ("squeue", "-h", "-t", "PD,R,CG", "-o", "%i")
    wait_for(lambda: held.job not in cluster.ask(*active).split(), 60, "the job's end")
    login.train_again(study)
    assert "resuming after epoch" in read_log(held.model)
    undisturbed.assert_equal(held.model)


def test_second_copy_waits_for_the_first_and_does_not_train_again(
    login: Login, study: Path, undisturbed: Peace
) -> None:
    """Someone unlocks and starts again while the orphan still trains."""
    held = login.train(study, 3)
    held.head.kill()
    unlocked = login.snakemake(study, "--unlock", *PROFILE)
    assert unlocked.wait(60) == 0
    again = login.snakemake(study, target(), *ON_CLUSTER)
    wait_for(lambda: "works on the training of" in read_log(held.model), 90, "the second copy")
    held.go_on()
    assert again.wait() == 0, again.said[-3000:]
    assert "already exists for exactly this configuration" in read_log(held.model)
    undisturbed.assert_equal(held.model)


def test_environment_that_changes_under_a_head_stops_its_next_job_and_put_back_it_goes_on(
    login: Login, study: Path, undisturbed: Peace, cluster: Cluster, tmp_path: Path
) -> None:
    """Someone installs another PyTorch into a shared environment while a training runs, whose job is then cancelled."""
    login.environment["PYTHONPATH"] = str(tmp_path / "project")
    held = login.train(study, 3)
    torch = tmp_path / "project/torch-1.0.dist-info"
    torch.mkdir(parents=True)
    (torch / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 1.0\n")
    cluster.ask("scancel", held.job)
    assert held.head.wait() != 0
    assert re.search(r"has changed since Snakemake was started: torch \S+ -> 1.0\. Put these .* back", held.head.said)
    assert "it is not tried again" in held.head.said
    assert held.head.said.count("has been submitted") == 2
    shutil.rmtree(torch)
    login.train_again(study)
    assert "resuming after epoch" in read_log(held.model)
    undisturbed.assert_equal(held.model)
