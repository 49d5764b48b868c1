"""Planning works before any data is in place, imports no torch, and names what is wrong with a config."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.workflow.conftest import run_snakemake

CONFIGS = ("demo", "quick", "lungs")
TRAININGS = 12


def planned(run: "subprocess.CompletedProcess[str]") -> dict[str, int]:
    """Read Snakemake's table of planned jobs."""
    return {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", run.stdout, flags=re.MULTILINE)}


@pytest.mark.parametrize("config", CONFIGS)
def test_every_config_plans_its_study(clone: Path, config: str) -> None:
    run = run_snakemake(clone, "-n", "--quiet", "rules", "--configfile", f"config/{config}.yaml", "--cores", "1")
    assert run.returncode == 0, run.stderr
    jobs = planned(run)
    assert jobs["train"] == jobs["evaluate"] == jobs["score"] == jobs["embed"] == jobs["explain"] == TRAININGS
    assert jobs["index"] == jobs["split"] == jobs["preprocess"] == 3
    assert jobs.get("phantom", 0) == (config == "demo")
    assert jobs.get("fetch_weights", 0) == (config == "lungs")


@pytest.mark.parametrize("profile", ["local", "slurm"])
def test_profiles_plan_the_full_study(clone: Path, profile: str) -> None:
    run = run_snakemake(
        clone, "-n", "--quiet", "rules", "--profile", f"profiles/{profile}", "--configfile", "config/lungs.yaml"
    )
    assert run.returncode == 0, run.stderr
    assert planned(run)["train"] == TRAININGS


def test_a_plan_says_which_data_is_missing(clone: Path) -> None:
    (clone / "data" / "covid").mkdir(parents=True)
    run = run_snakemake(clone, "-n", "--quiet", "rules", "--configfile", "config/lungs.yaml")
    assert run.returncode == 0, run.stderr
    assert "data: xray8: data/xray8 is not there yet" in run.stderr
    assert "data: covid" not in run.stderr


def test_one_target_needs_only_its_own_steps(clone: Path) -> None:
    target = "results/lungs/models/covid/resnet34/scratch/base/seed0/metrics.json"
    run = run_snakemake(clone, "-n", "--quiet", "rules", "--configfile", "config/lungs.yaml", "--", target)
    jobs = planned(run)
    del jobs["total"]
    assert jobs == dict.fromkeys(["index", "split", "preprocess", "train", "evaluate", "score"], 1)


def test_a_variant_is_planned_by_its_name_alone(clone: Path) -> None:
    target = "results/lungs/models/covid/resnet34/scratch/no_blur/seed7/model.pt"
    run = run_snakemake(clone, "-n", "-p", "--configfile", "config/lungs.yaml", "--", target)
    assert run.returncode == 0, run.stderr
    assert "256px-equalized/images.npy" in run.stdout
    assert "covid/resnet34/scratch/no_blur/seed7" in run.stdout


@pytest.mark.parametrize(
    ("override", "gpus"),
    [("compute={gpus: 2}", 2), ("compute={gpus: 2, device: cpu}", 0)],
)
def test_a_training_asks_for_the_gpus_of_its_settings(clone: Path, override: str, gpus: int) -> None:
    target = "results/lungs/models/covid/resnet34/scratch/base/seed0/model.pt"
    rule = clone / "workflow" / "rules" / "train.smk"
    rule.write_text(rule.read_text().replace('"train {wildcards', '"{resources.gpu} GPUs: train {wildcards'))
    run = run_snakemake(
        clone, "-n", target, "--profile", "profiles/slurm", "--configfile", "config/lungs.yaml", "--config", override
    )
    assert run.returncode == 0, run.stderr
    assert f"{gpus} GPUs: train covid resnet34" in run.stdout


@pytest.mark.parametrize("asked", ["", "tmpdir='/chosen'"])
def test_temporary_files_go_where_the_machine_or_the_user_says(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    monkeypatch.setenv("CXRFLOW_PLAN", "1")  # print what jobs ask for
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    chosen = ["--default-resources", asked] if asked else []
    run = run_snakemake(clone, "-n", "data", "--configfile", "config/lungs.yaml", *chosen)
    assert run.returncode == 0, run.stderr
    assert set(re.findall(r"resources: .*tmpdir=([^,\n]+)", run.stdout)) == {"/chosen" if asked else str(tmp_path)}


def test_planning_imports_no_torch(clone: Path) -> None:
    (clone / "Snakefile").write_text(
        (clone / "Snakefile").read_text() + "\nassert not {'torch', 'cv2', 'matplotlib'} & set(sys.modules)\n"
    )
    run = run_snakemake(clone, "-n", "--quiet", "rules", "--configfile", "config/lungs.yaml")
    assert run.returncode == 0, run.stderr + run.stdout


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("trian={epochs: 3}", "config.trian is no setting. Did you mean train?"),
        ("train={epochs: ten}", "config.train.epochs: expected a whole number, got 'ten'"),
        ("backbones=[resnet35]", "'resnet35' is not known; known: mobilenet_v3_large"),
        ("train={epochs: 0}", "config.train.epochs: 0 is out of range (at least 1)"),
        ("seeds=0", "config.seeds: expected a list, got 0"),
    ],
)
def test_a_wrong_config_stops_before_any_job(clone: Path, override: str, words: str) -> None:
    run = run_snakemake(clone, "-n", "--configfile", "config/quick.yaml", "--config", override)
    assert run.returncode == 1
    assert words in run.stdout + run.stderr
    assert "Traceback" not in run.stdout + run.stderr


def test_no_config_says_how_to_choose_a_study(clone: Path) -> None:
    run = run_snakemake(clone, "-n")
    assert run.returncode == 1
    assert "--configfile config/demo.yaml" in run.stdout + run.stderr
