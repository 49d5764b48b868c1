"""What a changed setting makes anew, planned for a study whose files are all there, though none was computed."""

import json
import re
import shutil
from pathlib import Path

import pytest

from cxrflow.files.records import EpochRow
from cxrflow.files.tables import write_records
from cxrflow.operate.jobs import dry_run
from tests.workflow.conftest import copy_workflow, run_snakemake

# With a model that starts from ImageNet weights, so that these are part of it.
pytestmark = pytest.mark.slow  # a plan takes two seconds, and these are a dozen of them
STUDY = ("--configfile", "config/quick.yaml", "config/imagenet.yaml", "--cores", "1")
IMAGENET = "seeds: [0]\ntransfer: {covid: {init: imagenet, backbone: resnet34}}\n"
MODELS = 12
JUDGES = {"analysis_plan", "select_models", "check", "summarize", "report"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which Snakemake has on record that every file of the study was made with its settings."""
    folder = copy_workflow(tmp_path_factory.mktemp("runs") / "a clone")
    (folder / "config/imagenet.yaml").write_text(IMAGENET)
    for job in dry_run(*STUDY, folder=folder):
        for path in job.outputs:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text('{"versions": []}' if path.endswith("analysis_plan.json") else "")
    run = run_snakemake(folder, "--touch", "--forceall", "--quiet", "all", *STUDY)
    assert run.returncode == 0, run.stderr
    with (folder / "scripts/cxrflow/models/epochs.py").open("a") as module:
        module.write("# a remark reruns nothing\n")
    assert planned(folder) == {}
    return folder


def planned(folder: Path, *arguments: str) -> dict[str, int]:
    """Return how many jobs of each rule Snakemake would run."""
    run = run_snakemake(folder, *arguments[:1], "-n", "--quiet", "rules", *STUDY, *arguments[1:])
    assert run.returncode == 0, run.stderr
    jobs = {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", run.stdout, flags=re.MULTILINE)}
    return {rule: n for rule, n in jobs.items() if rule not in ("all", "models", "total")}


def test_a_study_that_moves_computes_nothing_again(finished: Path) -> None:
    compute, folder = "compute={device: cuda, gpus: 2, threads: 3}", "datasets={covid: {folder: elsewhere}}"
    moved = ("data_root=/other/disk", "weights_root=/other/weights", "weights_url=https://mirror.example/models")
    assert planned(finished, "all", "--config", compute, folder, *moved) == {}


@pytest.mark.parametrize("profile", ["local", "slurm"])
def test_another_profile_computes_nothing_again(finished: Path, profile: str) -> None:
    run = run_snakemake(finished, "all", "-n", *STUDY, "--profile", f"profiles/{profile}")
    assert run.returncode == 0, run.stderr
    assert "Nothing to be done" in run.stdout + run.stderr


def test_a_clone_that_is_renamed_or_reached_by_a_link_computes_nothing_again(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(finished)
    assert planned(tmp_path / "link", "all") == {}
    there = finished.rename(tmp_path / "it's another clone")
    try:
        assert planned(there, "all") == {}
    finally:
        there.rename(finished)


def test_results_that_move_behind_a_link_are_not_computed_again(finished: Path, tmp_path: Path) -> None:
    results = finished / "results"
    results.rename(tmp_path / "scratch")
    results.symlink_to(tmp_path / "scratch")
    try:
        assert planned(finished, "all") == {}
    finally:
        results.unlink()
        (tmp_path / "scratch").rename(results)


def test_another_title_or_citation_of_a_dataset_opens_no_model(finished: Path) -> None:
    assert planned(finished, "all", "--config", "datasets={covid: {citation: new}}").keys() <= JUDGES
    jobs = planned(finished, "all", "--config", "datasets={covid: {title: New}}")
    assert jobs.keys() <= JUDGES | {"samples", "score"}


def test_what_was_deleted_is_made_again(finished: Path) -> None:
    folder = finished / "results/quick/models/covid/resnet34/scratch/base/seed0"
    folder.rename(folder.with_name("away"))
    try:
        jobs = planned(finished, "all")
    finally:
        folder.with_name("away").rename(folder)
    assert {rule: jobs[rule] for rule in ("train", "evaluate", "score")} == {"train": 1, "evaluate": 1, "score": 1}
    assert not {"index", "split", "preprocess"} & set(jobs)


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


def test_changed_metric_settings_open_no_model(finished: Path) -> None:
    jobs = planned(finished, "models", "--config", "score={bootstrap_resamples: 60}", "embed={perplexity: 20}")
    assert jobs == {"score": MODELS}


# Of each edit of the library: what may be made anew with the models alone, or with everything.
EDITS = {
    "the training loop": ("models/epochs.py", "\n\n\n", "\n\nNEW = 1\n\n", "models", {"train", "evaluate", "score"}),
    "a metric": ("results/metrics.py", "\n\n\n", "\n\nNEW = 1\n\n", "models", {"score"}),
    "a layer to explain": (
        "config/backbones.py",
        'title="ResNet-34"',
        'title="ResNet-34", gradcam_layer="layer3"',
        "models",
        {"evaluate", "score"},
    ),
    "what a dataset shares": (
        "config/readers.py",
        "        8851,",
        "        8852,",
        "all",
        JUDGES,
    ),
    "how many images were published": (
        "config/readers.py",
        '"COVID": 3616',
        '"COVID": 3617',
        "all",
        JUDGES,
    ),
    "who has seen test images": (
        "config/study.py",
        "def may_have_seen_test(self, model: ModelId) -> bool:",
        "def may_have_seen_test(self, model, x=1):",
        "all",
        JUDGES,
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_of_the_library_makes_anew_only_what_uses_it(finished: Path, edit: str) -> None:
    module, old, new, target, rules = EDITS[edit]
    path = finished / "scripts/cxrflow" / module
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    try:
        jobs = planned(finished, target)
    finally:
        path.write_text(text)
    assert set(jobs) == rules
    assert jobs.get("train", MODELS) == MODELS


def test_more_seeds_open_no_finished_model(finished: Path) -> None:
    jobs = planned(finished, "models", "--config", "seeds=[0, 1]")
    assert (jobs["train"], jobs["evaluate"], jobs["score"]) == (MODELS, MODELS, MODELS)


def test_the_plan_is_written_before_the_first_job(tmp_path: Path) -> None:
    folder = copy_workflow(tmp_path / "clone")
    run = run_snakemake(folder, "results/quick/data/covid/index.csv", "--quiet", "all", *STUDY[:2], *STUDY[3:])
    assert run.returncode != 0, "there is no data"
    (version,) = json.loads((folder / "results/quick/analysis_plan.json").read_text())["versions"]
    assert version["plan"]["study"] == "quick"


def test_a_run_that_would_repeat_many_hours_stops_with_the_reasons(finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "clone"))
    place = "results/quick/models/covid/resnet34/scratch/base/seed0"
    write_records(folder / place / "history.csv", EpochRow, [EpochRow(1, 1e-3, 1.0, 0.5, 1.0, 0.5, 5 * 3600.0, 1.0)])
    run = run_snakemake(folder, f"{place}/model.pt", *STUDY, "--config", "train={learning_rate: 0.003}")
    assert run.returncode != 0
    told = run.stdout + run.stderr
    assert "finished trainings that took 5 h would run again, and compute.repeat_hours is 4" in told
    assert f"{place} (5 h): Params have changed" in told
    assert "'compute={repeat_hours: 5}'" in told
    assert (folder / place / "model.pt").exists()
    allowed = ("train={learning_rate: 0.003}", "compute={repeat_hours: 5}")
    run = run_snakemake(folder, f"{place}/model.pt", *STUDY, "--config", *allowed)
    assert "would run again" not in run.stdout + run.stderr, "it starts, and fails at the empty images"
    assert "train covid resnet34" in run.stdout + run.stderr
