"""A study on a real cluster, with a second head and without accounting for a while; a whole one is in test_user.py."""

import os
import re
import time
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.conftest import ON_CLUSTER, Head, Login, job_names, wait_for

pytestmark = pytest.mark.slow


def count_submitted(head: Head) -> int:
    """Return how many jobs a head has submitted."""
    return head.said.count("has been submitted")


def test_a_study_from_its_images_to_the_scores(login: Login, cluster: Cluster, study: Path) -> None:
    """Two heads: the second leaves. slurmdbd down while jobs are running and being submitted: nothing is lost."""
    check = login.script(study, "slurm_check")
    assert check.returncode == 0, check.stdout
    assert "account lungs" in check.stdout

    held = login.train(study, 1, goal="models")
    seen = login.script(study, "status", "--configfile", "config/proof.yaml").stdout
    assert re.search(r"pneumonia\S* .*epoch \d+ of 24", seen), seen

    hour_ago = time.time() - 3600
    os.utime(held.model / "train.log", (hour_ago, hour_ago))
    seen = login.script(study, "status", "--configfile", "config/proof.yaml").stdout
    assert re.search(rf"STALLED: no line .*(?:scancel {held.job}|kill {held.process}) ends it", seen), seen

    second = login.snakemake(study, *ON_CLUSTER)
    assert second.wait(60) != 0
    assert "cannot be locked" in second.said

    cluster.stop("slurmdbd")
    before = count_submitted(held.head)
    held.go_on()
    wait_for(lambda: count_submitted(held.head) >= before + 2, 240, "two more jobs")
    cluster.start_slurmdbd()

    assert held.head.wait() == 0, held.head.said[-3000:]
    assert (held.model / "metrics.json").exists()
    assert not list((study / "results").rglob("*.tmp"))
    states = cluster.ask(
        "sacct", "-n", "-X", "--name", job_names(held.head), "-o", "JobName%30,Partition,State,Comment%60"
    ).splitlines()
    ((trained,), (scored,)) = ([line for line in states if rule in line] for rule in ("rule_train", "rule_score"))
    assert re.search(r"cxrflow_\S+ +gpu +COMPLETED", trained)
    assert " cpu " in scored
