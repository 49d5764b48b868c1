"""Compute nodes have no internet: what runs there runs with the network cut off."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow.test_whole_study import TINY

pytestmark = pytest.mark.slow

MODEL = "results/tiny/models/pneumonia/mobilenet_v3_large/scratch/base/seed0"


def can_cut_the_network() -> bool:
    """Say whether this user may make a network namespace, in which not even localhost answers."""
    return bool(shutil.which("unshare")) and not subprocess.run(["unshare", "--net", "true"], check=False).returncode


@pytest.mark.skipif(not can_cut_the_network(), reason="needs `unshare --net`, as root has it")
def test_training_testing_and_explaining_need_no_network(clone: Path) -> None:
    (clone / "config/tiny.yaml").write_text(TINY)
    targets = [f"{MODEL}/{file}" for file in ("metrics.json", "gradcam.json", "tsne.csv")]
    command = [
        "unshare",
        "--net",
        sys.executable,
        "-m",
        "snakemake",
        *targets,
        "results/tiny/backbones/mobilenet_v3_large.json",
    ]
    command += ["--profile", "profiles/local", "--cores", "2", "--configfile", "config/tiny.yaml"]
    run = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert all((clone / target).exists() for target in targets)
