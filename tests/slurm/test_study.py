"""A whole study on a real cluster, with a second head and without accounting for a while."""

import re
import time

import pytest

from cxrflow.report.summary import SUMMARY_FILES
from tests.slurm.cluster import Cluster
from tests.slurm.conftest import ON_CLUSTER, Login, epochs_done, job_names, model_folder, wait_for

pytestmark = pytest.mark.slow


def test_a_study_from_the_data_to_the_report(login: Login, cluster: Cluster) -> None:
    """Two heads: the second leaves. slurmdbd down while jobs are running and being submitted: nothing is lost."""
    study = login.study("whole study")
    check = login.script(study, "slurm_check")
    assert check.returncode == 0, check.stdout
    assert "account lungs" in check.stdout

    first = login.snakemake(study, *ON_CLUSTER)
    wait_for(lambda: epochs_done(model_folder(study)) >= 1, 120, "a training")
    seen = login.script(study, "status", "--configfile", "config/proof.yaml").stdout
    assert re.search(r"pneumonia\S* .*epoch \d+ of 40", seen), seen

    second = login.snakemake(study, *ON_CLUSTER)
    assert second.wait(60) != 0
    assert "cannot be locked" in second.said

    cluster.stop("slurmdbd")
    time.sleep(20)
    cluster.start_slurmdbd()

    assert first.wait(400) == 0, first.said[-3000:]
    assert (study / "results/proof/report.html").stat().st_size > 100_000
    assert all((study / "results/proof/summary" / name).exists() for name in SUMMARY_FILES)
    assert not list((study / "results").rglob("*.tmp"))
    states = cluster.ask(
        "sacct", "-n", "-X", "--name", job_names(first), "-o", "JobName%30,Partition,State,Comment%60"
    ).splitlines()
    trained = [line for line in states if "rule_train" in line]
    assert len(trained) == 3
    assert all(re.search(r"cxrflow_\S+ +gpu +COMPLETED", line) for line in trained)
    assert all(" cpu " in line for line in states if "rule_embed" in line)
