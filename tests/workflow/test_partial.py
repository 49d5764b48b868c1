"""A study of which one dataset cannot be split: the rest is on a page, which says what is missing and why."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.workflow.conftest import copy_workflow, run_snakemake

pytestmark = pytest.mark.slow

CONFIG = """
study: half
datasets:
  fine: {reader: folders, folder: fine}
  small: {reader: folders, folder: small, title: Small set}
backbones: [mobilenet_v3_large]
transfer:
  fine: {init: from_small, backbone: mobilenet_v3_large}
preprocess: {size_px: 32}
compute: {device: cpu, threads: 1}
train: {epochs: 1, batch_size: 16}
explain: {images_per_class: 1, scored_images: 0}
profile: {repeats: 3}
score: {bootstrap_resamples: 20}
"""
WHY = "class &#39;b&#39; is too small to split: its 2 images form 2 group(s)"


def draw_folders(folder: Path, **classes: int) -> None:
    """Draw images of noise, one folder per class."""
    generator = np.random.default_rng(len(folder.name))
    for label, n in classes.items():
        (folder / label).mkdir(parents=True)
        for i in range(n):
            Image.fromarray(generator.integers(256, size=(40, 40), dtype=np.uint8)).save(
                folder / label / f"{label}{i}.png"
            )


def snakemake(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    study = ("--profile", "profiles/local", "--cores", "2", "--configfile", "half.yaml")
    return run_snakemake(folder, *study, *arguments)


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run a study that fails for one of its two datasets, as a class has two images."""
    folder = copy_workflow(tmp_path_factory.mktemp("runs") / "it's half")
    (folder / "half.yaml").write_text(CONFIG)
    draw_folders(folder / "data" / "fine", a=14, b=14)
    draw_folders(folder / "data" / "small", a=14, b=2)
    run = snakemake(folder)
    assert run.returncode == 1
    assert "or the dataset with --config 'leave_out=[<name>]'" in run.stdout + run.stderr
    assert "add 'leave_out=[unfinished]' to --config" in run.stdout
    assert (folder / "results/half/models/fine/mobilenet_v3_large/scratch/base/seed0/metrics.json").exists()
    assert not (folder / "results/half/report.html").exists()
    return folder


@pytest.mark.parametrize("leave_out", ["unfinished", "small"])
def test_the_page_is_made_of_what_there_is_and_says_what_is_missing_and_why(failed: Path, leave_out: str) -> None:
    run = snakemake(failed, "--config", f"leave_out=[{leave_out}]")
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    page = (failed / "results/half/report.html").read_text()
    assert "1 model: 1 backbone on 1 dataset" in page
    assert "2 models of the study missing" in page
    assert "MobileNetV3-Large on Small set, from scratch, seed 0: " in page
    assert "MobileNetV3-Large on fine, from Small set, seed 0: " in page
    assert page.count(WHY) >= 2
    assert ("small is left out" in page) == (leave_out == "small")
    assert (failed / "results/half/selection.json").read_text().count('"chosen"') == 1


def test_the_whole_study_still_fails(failed: Path) -> None:
    """A page of a part does not pass for one of the whole."""
    assert snakemake(failed).returncode == 1


def test_nothing_finished_is_no_page(failed: Path) -> None:
    run = snakemake(failed, "-n", "--config", "study=other", "leave_out=[unfinished]")
    assert run.returncode == 1
    assert "no model of this study is finished" in run.stdout
