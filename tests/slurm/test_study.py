"""A whole study on a real cluster, with a second head and without accounting for a while."""

import re
import time
from pathlib import Path

import pytest

from cxrflow.report.manifest import SUMMARY_FILES
from tests.slurm.cluster import Cluster
from tests.slurm.conftest import ON_CLUSTER, SITE, Login, epochs_done, job_names, model_folder, wait_for
from tests.workflow.conftest import copy_workflow

pytestmark = pytest.mark.slow

STUDY = """
study: proof
phantoms: {images_per_class: 14, size_scale: 0.13}
datasets:
  covid: {reader: covid_radiography, folder: covid, lesion_masks: lesion_masks}
  pneumonia: {reader: kermany, folder: pneumonia, lesion_masks: lesion_masks}
backbones: [mobilenet_v3_large]
transfer:
  covid: {init: from_pneumonia, backbone: mobilenet_v3_large}
preprocess: {size_px: 32}
train: {epochs: 40, restart_epochs: 10, batch_size: 16}
explain: {images_per_class: 1, scored_images: 4}
profile: {repeats: 3}
score: {bootstrap_resamples: 50}
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Give a study that has no data yet."""
    folder = copy_workflow(tmp_path / "whole study")
    (folder / "config/proof.yaml").write_text(STUDY)
    (folder / "profiles/slurm/site.yaml").write_text(SITE)
    return folder


def test_a_study_from_synthetic_xrays_to_the_report(login: Login, cluster: Cluster, study: Path) -> None:
    """Two heads: the second leaves. slurmdbd down while jobs are running and being submitted: nothing is lost."""
    check = login.script(study, "slurm_check")
    assert check.returncode == 0, check.stdout
    assert "account lungs" in check.stdout

    first = login.snakemake(study, *ON_CLUSTER)
    wait_for(lambda: epochs_done(model_folder(study)) >= 1, 240, "a training")
    seen = login.script(study, "status", "--configfile", "config/proof.yaml").stdout
    assert re.search(r"pneumonia\S* .*epoch \d+ of 40", seen), seen

    second = login.snakemake(study, *ON_CLUSTER)
    assert second.wait(60) != 0
    assert "cannot be locked" in second.said

    cluster.stop("slurmdbd")
    time.sleep(60)
    cluster.start_slurmdbd()

    assert first.wait() == 0, first.said[-3000:]
    assert (study / "results/proof/report.html").stat().st_size > 100_000
    assert all((study / "results/proof/summary" / name).exists() for name in SUMMARY_FILES)
    assert not list((study / "results").rglob("*.tmp"))
    states = cluster.ask(
        "sacct", "-n", "-X", "--name", job_names(first), "-o", "JobName%30,Partition,State,Comment%60"
    ).splitlines()
    trained = [line for line in states if "rule_train" in line]
    assert len(trained) == 3
    assert all(re.search(r"cxrflow_\S+ +gpu +COMPLETED", line) for line in trained)
    assert all(" cpu " in line for line in states if "rule_score" in line)
