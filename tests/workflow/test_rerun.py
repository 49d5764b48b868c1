"""What a changed setting makes anew, planned for a study whose files are all there, though none was computed."""

import re
from pathlib import Path

import pytest

from cxrflow.operate.jobs import dry_run
from tests.workflow.conftest import copy_workflow, run_snakemake

STUDY = ("--configfile", "config/quick.yaml", "--cores", "1")
MODELS = 12


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which Snakemake has on record that every file of the study was made with its settings."""
    folder = copy_workflow(tmp_path_factory.mktemp("runs") / "a clone")
    for job in dry_run(*STUDY, folder=folder):
        for path in job.outputs:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).touch()
    run = run_snakemake(folder, "--touch", "--forceall", "--quiet", "all", *STUDY)
    assert run.returncode == 0, run.stderr
    assert planned(folder) == {}
    return folder


def planned(folder: Path, *arguments: str) -> dict[str, int]:
    """Return how many jobs of each rule Snakemake would run."""
    run = run_snakemake(folder, *arguments[:1], "-n", "--quiet", "rules", *STUDY, *arguments[1:])
    assert run.returncode == 0, run.stderr
    jobs = {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", run.stdout, flags=re.MULTILINE)}
    return {rule: n for rule, n in jobs.items() if rule not in ("all", "models", "total")}


def test_a_study_that_moves_computes_nothing_again(finished: Path) -> None:
    moved = ("compute={device: cuda, gpus: 2, threads: 3}", "data_root=/other/disk")
    assert planned(finished, "all", "--config", *moved) == {}


def test_another_learning_rate_trains_every_model_again(finished: Path) -> None:
    jobs = planned(finished, "models", "--config", "train={learning_rate: 0.003}")
    assert jobs["train"] == MODELS
    assert not {"phantom", "index", "split", "preprocess"} & set(jobs)


def test_the_device_reaches_the_command(finished: Path) -> None:
    target = "results/quick/models/covid/resnet34/scratch/base/seed0/model.pt"
    compute = "compute={device: cuda, gpus: 3, threads: 5}"
    run = run_snakemake(finished, target, "-n", "-p", "--force", *STUDY, "--cores", "8", "--config", compute)
    (command,) = re.findall(r"python \S*train\.py.*", run.stdout.replace("\\\n", " "))
    assert "--device cuda --gpus 3 --threads 5" in command
    assert '"device"' not in command


@pytest.mark.parametrize("change", ["score={bootstrap_resamples: 60}", "embed={perplexity: 20}"])
def test_a_changed_metric_setting_opens_no_model(finished: Path, change: str) -> None:
    jobs = planned(finished, "models", "--config", change)
    assert jobs == {"score": MODELS}


def test_a_changed_metric_opens_no_model(finished: Path) -> None:
    """The code of metrics and intervals reaches score and what compares, and no stage that needs a network."""
    module = finished / "scripts/cxrflow/results/metrics.py"
    text = module.read_text()
    module.write_text(text + "\nNEW = 1\n")
    try:
        assert planned(finished, "models") == {"score": MODELS}
    finally:
        module.write_text(text)
