"""A whole tiny study on phantoms, in a folder whose name has a space and a quote: from nothing to the report.

Compute nodes have no internet: where this user may cut the network off, the whole of it runs without one.
"""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow.conftest import can_cut_the_network, copy_workflow, run_snakemake

pytestmark = pytest.mark.slow

TINY = """
study: tiny
phantoms: {images_per_class: 14, size_scale: 0.13}
datasets:
  covid: {reader: covid_radiography, folder: covid, title: "<b>COVID</b> phantoms", lesion_masks: lesion_masks}
  pneumonia: {reader: kermany, folder: pneumonia, lesion_masks: lesion_masks}
  xray8: {reader: nih, folder: xray8, lesion_masks: lesion_masks}
backbones: [mobilenet_v3_large]
transfer:
  covid: {init: from_pneumonia, backbone: mobilenet_v3_large}
preprocess: {size_px: 32}
compute: {device: cpu, threads: 1}
train: {epochs: 2, restart_epochs: 1, batch_size: 16}
explain: {images_per_class: 1, scored_images: 4}
profile: {repeats: 3}
score: {bootstrap_resamples: 50}
variants:
  no_blur: {preprocess: {blur_px: 0}}
ablation: {variants: [no_blur], datasets: [covid]}
"""
MODELS = 5  # three from scratch, one transferred, one ablation


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the tiny study once; the tests below look at what it left."""
    folder = copy_workflow(tmp_path_factory.mktemp("runs") / "it's a; clone")
    (folder / "config" / "tiny.yaml").write_text(TINY)
    run = snakemake(folder, offline=can_cut_the_network())
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert str(folder / "results/tiny/report.html") in run.stdout, "the run does not end by naming the report"
    return folder


def snakemake(folder: Path, *arguments: str, offline: bool = False) -> "subprocess.CompletedProcess[str]":
    study = ("--profile", "profiles/local", "--cores", "2", "--configfile", "config/tiny.yaml")
    return run_snakemake(folder, *study, *arguments, offline=offline)


def planned(folder: Path, *arguments: str) -> dict[str, int]:
    run = snakemake(folder, "-n", *arguments)
    assert run.returncode == 0, run.stderr
    return {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", run.stdout, flags=re.MULTILINE)}


@pytest.mark.skipif(not can_cut_the_network(), reason="needs `unshare --net`, as root has it: the study ran online")
def test_no_job_needed_the_network(study: Path) -> None:
    assert (study / "results/tiny/report.html").exists()


def test_the_comparison_has_every_model_once(study: Path) -> None:
    rows = read_rows(study / "results/tiny/summary/models.csv")
    assert sum(row["init"] != "baseline" for row in rows) == MODELS


def test_every_metric_file_counts_the_test_subset(study: Path) -> None:
    files = list((study / "results/tiny/models").rglob("metrics.json"))
    assert len(files) == MODELS
    for file in files:
        metrics = json.loads(file.read_text())
        assert sum(map(sum, metrics["confusion"])) == metrics["n_images"] > 0


def test_nothing_resumable_or_temporary_is_left(study: Path) -> None:
    left = [path for path in (study / "results").rglob("*") if path.name.endswith(".tmp") or path.name == "resume"]
    assert left == []


def test_a_second_run_does_nothing(study: Path) -> None:
    assert planned(study) == {}


def test_a_copy_without_its_times_computes_nothing_once_all_files_have_one(study: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(study, copy)
    for path in copy.glob("results/tiny/models/**/model.pt"):
        os.utime(path)
    assert planned(copy)["evaluate"] == MODELS
    for path in copy.glob("results/tiny/**/*"):
        os.utime(path, (0, 0))
    assert planned(copy) == {}


def test_an_exported_model_reads_the_test_images_as_the_study_did(study: Path, tmp_path: Path) -> None:
    model = "results/tiny/models/covid/mobilenet_v3_large/scratch/no_blur/seed0"
    assert planned(study, "--", f"{model}/model.onnx") == {"export": 1, "total": 1}
    run = snakemake(study, "--", f"{model}/model.onnx")
    assert run.returncode == 0, run.stderr[-3000:]

    places = {row["image_id"]: row["path"] for row in read_rows(study / "results/tiny/data/covid/index.csv")}
    wanted = read_rows(study / model / "predictions.csv")
    files = [study / "results/tiny/phantoms/covid" / places[row["image_id"]] for row in wanted]
    command = [sys.executable, "scripts/predict.py", *files, "--model", f"{model}/model.onnx"]
    subprocess.run([*command, "--csv", tmp_path / "answers.csv"], cwd=study, check=True, capture_output=True)
    found = read_rows(tmp_path / "answers.csv")
    assert [row["file"] for row in found] == [str(file) for file in files]
    columns = [name for name in wanted[0] if name.startswith("p(")]
    assert len(columns) == 3
    for one, other in zip(found, wanted, strict=True):
        assert [float(one[name]) for name in columns] == pytest.approx(
            [float(other[name]) for name in columns], abs=1e-5
        )


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_a_printed_command_runs_outside_snakemake(study: Path, tmp_path: Path) -> None:
    target = "results/tiny/data/covid/split.csv"
    run = run_snakemake(study, "-n", "-p", "--force", "--configfile", "config/tiny.yaml", "--", target)
    (command,) = re.findall(r"python \S.*split\.py.*", run.stdout.replace("\\\n", " "))
    before = (study / target).read_bytes()
    (study / target).unlink()
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    subprocess.run(command, shell=True, cwd=study, env=environment, check=True)
    assert (study / target).read_bytes() == before
