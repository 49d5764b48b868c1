"""config/tutorial.md as a user follows it: its YAML and its commands, on drawn images and with a shorter training."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cxrflow.config.settings import PhantomSettings
from phantoms.write import write_phantoms
from tests.workflow.conftest import ROOT, copy_workflow

pytestmark = pytest.mark.slow

TUTORIAL = (ROOT / "config/tutorial.md").read_text()
SHORTER = [
    "preprocess={size_px: 32}",
    "train={epochs: 2, batch_size: 16}",
    "seeds=[0]",
    "backbones=[mobilenet_v3_large]",
    "profile={repeats: 3}",
    "score={bootstrap_resamples: 50}",
]


def blocks(kind: str = "") -> list[str]:
    """Return what stands in the tutorial's code blocks of a kind."""
    found = re.findall(r"^```(\w*)\n(.*?)^```\n", TUTORIAL, flags=re.DOTALL | re.MULTILINE)
    return [text for name, text in found if name == kind]


def place_images(folder: Path) -> None:
    """Write phantoms of two classes, two images per patient, named as the tutorial names them."""
    settings = PhantomSettings(images_per_class=36, images_per_class_of={"covid": 12, "xray8": 12}, size_scale=0.13)
    write_phantoms(folder / "phantoms", settings, folder / "phantoms/manifest.json")
    for label, pattern in (("healthy", "NORMAL"), ("tb", "PNEUMONIA")):
        target = folder / "data/my_xrays" / label
        target.mkdir(parents=True)
        for k, path in enumerate(sorted((folder / "phantoms/pneumonia").rglob(f"{pattern}/*.jpeg"))[:36]):
            shutil.copy(path, target / f"p{label}{k // 2:03}_{'ab'[k % 2]}.jpeg")
    shutil.copytree(folder / "data/my_xrays/tb", folder / "new_xrays")


def test_the_tutorial_leads_to_a_tool_that_answers(tmp_path: Path) -> None:
    clone = copy_workflow(tmp_path / "it's a clone")
    place_images(clone)
    (clone / "config/mine.yaml").write_text(blocks("yaml")[0])
    (clone / "bin").mkdir()
    for name, words in (("python", ""), ("snakemake", "-m snakemake")):
        (clone / "bin" / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {words} "$@"\n')
        (clone / "bin" / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{clone / 'bin'}:/usr/bin:/bin"}
    commands = [line for block in blocks() for line in block.splitlines() if line.startswith(("snakemake", "python"))]
    assert len(commands) == 6
    for command in commands:
        words = shlex.split(command)
        if words[0] == "snakemake":
            words += ["--cores", "2", "--config", *SHORTER]
        run = subprocess.run(words, cwd=clone, env=environment, capture_output=True, text=True, check=False)
        assert run.returncode == 0, f"{command}\n{run.stdout[-3000:]}{run.stderr[-3000:]}"
    answers = (clone / "answers.csv").read_text().splitlines()
    assert len(answers) == 1 + 36
    assert (clone / "results/mine/report.html").exists()
