"""A tiny study of images that may have several findings, on phantoms with the published lists: from nothing to a page.

Also one with what a training cannot have: nothing runs.
"""

import csv
import json
from pathlib import Path

import pytest

from tests.workflow.conftest import copy_workflow, run_snakemake

pytestmark = pytest.mark.slow

TINY = """
study: tiny
phantoms: {images_per_class: 12, images_per_class_of: {xray8: 20}, size_scale: 0.13}
datasets:
  xray8: {reader: nih, folder: xray8, title: "<b>Phantoms</b>", findings: [Atelectasis, Effusion, Mass, Nodule]}
backbones: [mobilenet_v3_large]
split: {source: published, train: 0.6, val: 0.15, test: 0.25}
preprocess: {size_px: 32}
compute: {device: cpu, threads: 1}
train: {epochs: 2, restart_epochs: 1, batch_size: 16, class_weights: none}
score: {bootstrap_resamples: 50}
"""


def test_from_nothing_to_the_page(tmp_path: Path) -> None:
    folder = copy_workflow(tmp_path / "it's a; clone")
    (folder / "config/tiny.yaml").write_text(TINY)
    study = ("--profile", "profiles/local", "--cores", "2", "--configfile", "config/tiny.yaml")
    run = run_snakemake(folder, *study)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    results = folder / "results/tiny"
    metrics = json.loads(next(results.glob("models/**/metrics.json")).read_text())
    with (results / "data/xray8/test.csv").open(newline="") as handle:
        tested = list(csv.DictReader(handle))
    assert metrics["n_images"] == len(tested)
    assert {row["decided_by"] for row in tested} == {"published"}
    for finding, scores in metrics["per_class"].items():
        assert scores["support"] == sum(finding in row["findings"].split("|") for row in tested) > 0
    page = (results / "report.html").read_text()
    assert "no score of Table 4 compares with these: its images are synthetic" in page
    assert "&lt;b&gt;Phantoms" in page
    assert "<b>Phantoms" not in page
    assert f"{metrics['mean_auroc']['value']:.3f}" in page
    again = run_snakemake(folder, "-n", *study)
    assert "Nothing to be done" in again.stdout + again.stderr
    model = next(results.glob("models/**/model.pt")).relative_to(folder)
    refused = run_snakemake(folder, *study, "--", str(model.with_suffix(".onnx")))
    assert refused.returncode == 1, "no rule exports it"
