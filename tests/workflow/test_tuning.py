"""A search on tiny phantoms, from nothing to models of what it found: torn files, more generations, deleted answers."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.workflow.conftest import copy_workflow, run_snakemake

pytestmark = pytest.mark.slow

TINY = """
study: tiny
phantoms: {images_per_class: 12, size_scale: 0.13}
datasets:
  pneumonia: {reader: kermany, folder: pneumonia}
backbones: [mobilenet_v3_large]
preprocess: {size_px: 32}
compute: {device: cpu, threads: 1}
train: {batch_size: 16}
tune:
  found:
    dataset: pneumonia
    backbone: mobilenet_v3_large
    generations: 2
    per_generation: 2
    rungs: [1, 2]
    space:
      learning_rate: {low: 1e-4, high: 1e-2, log: true}
      blur_px: [0, 5]
"""
RUNS = 2 * 2 + 2 * 1
TRIALS = Path("results/tiny/tune/found/trials")


def snakemake(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    study = ("--profile", "profiles/local", "--cores", "2", "--configfile=config/tiny.yaml")
    return run_snakemake(folder, *study, *arguments, "--", "tune")


def planned(folder: Path, *arguments: str) -> dict[str, int]:
    run = snakemake(folder, "-n", *arguments)
    assert run.returncode == 0, run.stderr
    return {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", run.stdout, flags=re.MULTILINE)}


def read_answers(folder: Path) -> dict[str, object]:
    """Read every trial file, without the times."""
    paths = sorted((folder / TRIALS).glob("*.json"))
    return {path.name: {k: v for k, v in json.loads(path.read_text()).items() if k != "seconds"} for path in paths}


def test_a_search_survives_what_happens_to_its_files(tmp_path: Path) -> None:
    folder = copy_workflow(tmp_path / "it's a clone")
    (folder / "config" / "tiny.yaml").write_text(TINY)
    run = snakemake(folder)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert "run the same command again for the models that are trained with them" in run.stdout
    answers = read_answers(folder)
    assert len(answers) == RUNS
    best = folder / "results/tiny/tune/found/best.json"
    found = json.loads(best.read_text())
    assert found["value"] == max(answer["value"] for answer in answers.values() if answer["rung"] == 1)
    assert "trial" not in planned(folder)

    first = folder / TRIALS / "0000.json"  # a disk that lost its end, and a best.json to be made anew
    first.write_bytes(first.read_bytes()[:-30])
    best.unlink()
    run = snakemake(folder)
    assert run.returncode != 0
    assert "0000.json" in run.stdout + run.stderr
    assert not first.exists()
    assert snakemake(folder).returncode == 0
    assert read_answers(folder) == answers, "taken back, or made again bit for bit"
    assert {**json.loads(best.read_text()), "seconds": 0} == {**found, "seconds": 0}

    longer = ("--config", "tune={found: {generations: 3}}")
    jobs = planned(folder, *longer)
    assert (jobs["ask"], jobs["trial"]) == (2, 2 + 1 + 1), "the third generation, and what waited for its trials"
    assert "train" not in jobs
    whole = run_snakemake(folder, "-n", "--profile", "profiles/local", "--configfile=config/tiny.yaml")
    assert re.search(r"^train +2$", whole.stdout, flags=re.MULTILINE), "the base, and what was found"
