"""Planning works before any data is in place, imports no torch, and names what is wrong with a config."""

import re
import subprocess
from pathlib import Path

import pytest

from cxrflow.checks.registry import list_verdicts
from cxrflow.files.atomic import write_json
from cxrflow.files.provenance import record_path, save_record
from cxrflow.operate.jobs import parse_jobs
from tests.workflow.conftest import ROOT, copy_workflow, run_snakemake

TRAININGS = {"demo": 12, "quick": 12 * 3, "lungs": 12 * 5}  # models x seeds
TEST_FILE = r"/test/|/test\.csv"
Run = subprocess.CompletedProcess[str]


def planned(run: Run) -> dict[str, int]:
    """Read Snakemake's table of planned jobs."""
    assert run.returncode == 0, run.stderr + run.stdout
    return {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", run.stdout, flags=re.MULTILINE)}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """Plan the published study once, for Slurm, with one of its datasets in place; return its clone and the plan."""
    clone = copy_workflow(tmp_path_factory.mktemp("plans") / "it's a clone")
    (clone / "data" / "covid").mkdir(parents=True)
    with (clone / "Snakefile").open("a") as snakefile:
        heavy = {"torch", "cv2", "matplotlib", "sklearn", "cxrflow.compare.collect"}  # Snakemake itself has numpy
        snakefile.write(f"\nassert not {heavy} & set(sys.modules), 'a plan imports too much'\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXRFLOW_PLAN", "1")  # print what jobs ask for
        patch.setenv("TMPDIR", str(clone.parent))
        run = run_snakemake(clone, "-n", "-p", "--profile", "profiles/slurm", "--configfile", "config/lungs.yaml")
    return clone, run


def test_a_cluster_plans_the_published_study_and_imports_no_torch(published: tuple[Path, Run]) -> None:
    jobs = planned(published[1])
    assert jobs["train"] == jobs["evaluate"] == jobs["score"] == TRAININGS["lungs"]
    assert jobs["index"] == jobs["split"] == jobs["preprocess"] == 3
    assert jobs["fetch_weights"] == 1
    assert "phantom" not in jobs


def test_no_job_that_trains_gets_a_test_row(published: tuple[Path, Run]) -> None:
    jobs = parse_jobs(published[1].stdout)
    given = {job.rule for job in jobs if re.search(TEST_FILE, " ".join(job.inputs))}
    # preprocess packs them apart; check and summarize count them.
    assert given == {"preprocess", "evaluate", "probe", "check", "summarize"}
    commands = re.findall(r"python scripts/(\w+)\.py (.*)", published[1].stdout.replace("\\\n", " "))
    assert len(commands) == len(jobs)
    named = {stage for stage, arguments in commands if re.search(TEST_FILE, arguments)}
    assert named == {"split", "preprocess", "evaluate", "probe"}


def test_a_study_of_several_findings_is_planned_and_no_training_gets_a_test_row(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXRFLOW_PLAN", "1")
    with (clone / "Snakefile").open("a") as snakefile:
        snakefile.write("\nassert not {'torch', 'matplotlib', 'cxrflow.compare.collect'} & set(sys.modules)\n")
    study = ("--profile", "profiles/slurm", "--configfile", "config/nih14.yaml")
    run = run_snakemake(clone, "-n", "-p", *study)
    jobs = planned(run)
    assert jobs["train"] == jobs["evaluate_findings"] == jobs["score_findings"] == 3 * 2 * 3
    assert jobs["report_findings"] == 1
    assert not jobs.keys() & {"evaluate", "probe", "check", "select_models", "summarize", "deliver", "phantom"}
    given = {job.rule for job in parse_jobs(run.stdout) if re.search(TEST_FILE, " ".join(job.inputs))}
    assert given == {"preprocess", "evaluate_findings", "report_findings"}
    assert all(job.gpus == 1 for job in parse_jobs(run.stdout) if job.rule in ("train", "evaluate_findings"))
    refused = run_snakemake(clone, "-n", *study, "--config", "train={class_weights: inverse}")
    assert refused.returncode == 1
    assert "config.train: class_weights must be none" in refused.stdout + refused.stderr


SEARCH = (
    "tune={found: {dataset: covid, backbone: resnet34, generations: 3, per_generation: 4, rungs: [2, 4],"
    " space: {learning_rate: {low: 1e-4, high: 1e-2, log: true}, blur_px: [0, 5]}}}"
)


def test_a_search_is_planned_whole_and_no_job_of_it_gets_a_test_row(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXRFLOW_PLAN", "1")
    run = run_snakemake(clone, "-n", "-p", "--config", SEARCH, "--configfile=config/lungs.yaml", "--", "tune")
    jobs = planned(run)
    assert (jobs["ask"], jobs["trial"], jobs["choose_settings"]) == (4, 3 * 4 + 3 * 2, 1)
    assert (jobs["preprocess"], jobs["split"]) == (2, 1), "both of the preprocessings that it can try, and no more"
    assert "train" not in jobs
    searching = [job for job in parse_jobs(run.stdout) if job.rule in ("ask", "trial", "choose_settings")]
    assert len(searching) == 4 + 18 + 1
    assert not [job.title for job in searching if re.search(TEST_FILE, " ".join(job.inputs))]
    commands = re.findall(r"python scripts/(\w+)\.py (.*)", run.stdout.replace("\\\n", " "))
    assert not [stage for stage, words in commands if stage in ("ask", "trial") and re.search(TEST_FILE, words)]


def test_a_plan_says_which_data_is_missing(published: tuple[Path, Run]) -> None:
    notes = [line for line in published[1].stderr.splitlines() if line.startswith("data: ")]
    assert len(notes) == 2
    assert notes[1].startswith("data: xray8: data/xray8 ")


def test_temporary_files_go_where_the_machine_says(published: tuple[Path, Run]) -> None:
    clone, run = published
    assert set(re.findall(r"resources: .*tmpdir=([^,\n]+)", run.stdout)) == {str(clone.parent)}


@pytest.mark.parametrize("config", ["demo", "quick"])
def test_one_machine_plans_a_study(clone: Path, monkeypatch: pytest.MonkeyPatch, config: str) -> None:
    monkeypatch.setenv("CXRFLOW_PLAN", "1")
    study = ("--profile", "profiles/local", "--configfile", f"config/{config}.yaml")
    run = run_snakemake(clone, "-n", *study, "--default-resources", "tmpdir='/chosen'")
    jobs = planned(run)
    assert jobs["train"] == jobs["evaluate"] == jobs["score"] == TRAININGS[config]
    assert jobs.get("phantom", 0) == (config == "demo")
    assert "fetch_weights" not in jobs
    assert set(re.findall(r"resources: .*tmpdir=([^,\n]+)", run.stdout)) == {"/chosen"}


def test_one_target_needs_only_its_own_jobs(clone: Path) -> None:
    target = "results/lungs/models/covid/resnet34/scratch/no_blur/seed7/metrics.json"
    run = run_snakemake(clone, "-n", "-p", "--configfile=config/lungs.yaml", target)
    jobs = planned(run)
    del jobs["total"]
    assert jobs == dict.fromkeys(["index", "copies", "split", "preprocess", "train", "evaluate", "score"], 1)
    assert "256px-equalized/images.npy" in run.stdout, "the variant decides the recipe"
    assert "covid/resnet34/scratch/no_blur/seed7" in run.stdout


def test_only_what_a_variant_overrides_is_made_anew(clone: Path) -> None:
    """A grid of learning rates shares the packed images of the base; one of the blur has images of its own."""
    (clone / "config/grid.yaml").write_text(
        "variants: {lr: {train: {learning_rate: [3e-4, 1e-3]}}, blur: {preprocess: {blur_px: [3, 7]}}}\n"
        "ablation: {variants: [lr, blur], datasets: [covid], backbones: [resnet34]}\n"
        "seeds: [0]\n"
    )
    configs = ("--configfile", "config/lungs.yaml", "config/grid.yaml", "--")
    jobs = planned(run_snakemake(clone, "-n", "--quiet", "rules", *configs, "models"))
    assert jobs["train"] == 12 + 4
    assert jobs["preprocess"] == 3 + 2
    assert jobs["index"] == jobs["split"] == 3


def test_targets_may_follow_every_command_that_is_shown() -> None:
    """Snakemake takes a target after `--configfile FILE` for another config file; `--configfile=FILE` takes one."""
    files = subprocess.run(["git", "ls-files", "--", ":!tests"], cwd=ROOT, capture_output=True, text=True, check=True)
    shown = [name for name in files.stdout.splitlines() if (ROOT / name).suffix != ".png"]
    assert "README.md" in shown
    assert [name for name in shown if re.search(r"--configfile [\w<](?!.* -- )", (ROOT / name).read_text())] == []


@pytest.mark.slow
def test_a_new_check_is_planned_by_its_module_alone(clone: Path) -> None:
    (clone / "scripts" / "cxrflow" / "checks" / "moon.py").write_text(
        "@check('caution', 'Is the moon full?', needs=('index', 'split'))\ndef full_moon(results):\n    ...\n"
    )
    (clone / "config/one.yaml").write_text(
        "study: one\ndatasets: {covid: {reader: covid_radiography, folder: covid}}\nbackbones: [resnet34]\n"
    )
    plan = ("-n", "--quiet", "rules", "--configfile", "config/one.yaml", "--")
    assert planned(run_snakemake(clone, *plan, "summary"))["check"] == len(list_verdicts()) + 1
    jobs = planned(run_snakemake(clone, *plan, "results/one/checks/full_moon.json"))
    assert jobs == {"index": 1, "copies": 1, "split": 1, "check": 1, "total": 4}


@pytest.mark.parametrize(
    ("profile", "override", "gpus"),
    [
        ("slurm", "compute={gpus: 2}", 2),
        ("local", "compute={gpus: 2}", 2),
        ("slurm", "compute={gpus: 2, device: cpu}", 0),
    ],
)
def test_a_training_asks_for_the_gpus_of_its_settings(clone: Path, profile: str, override: str, gpus: int) -> None:
    """And what else computes with a network for one, also on one machine, where a profile names no GPU for a rule."""
    target = "results/lungs/models/covid/resnet34/scratch/base/seed0/predictions.csv"
    rule = clone / "workflow" / "rules" / "train.smk"
    rule.write_text(rule.read_text().replace('"train {wildcards', '"{resources.gpu} GPUs: train {wildcards'))
    rule = rule.with_name("evaluate.smk")
    rule.write_text(rule.read_text().replace('"evaluate {wildcards', '"{resources.gpu} GPUs: evaluate {wildcards'))
    rule = rule.with_name("summary.smk")
    rule.write_text(rule.read_text().replace('"measure the cost', '"{resources.gpu} GPUs: measure the cost'))
    targets = (target, "results/lungs/backbones/resnet34.json")
    study = ("--profile", f"profiles/{profile}", "--configfile", "config/lungs.yaml", "--config", override)
    run = run_snakemake(clone, "-n", *targets, *study)
    assert run.returncode == 0, run.stderr
    assert f"{gpus} GPUs: train covid resnet34" in run.stdout
    assert f"{min(1, gpus)} GPUs: evaluate covid resnet34" in run.stdout
    assert f"{min(1, gpus)} GPUs: measure the cost of resnet34" in run.stdout


def test_a_wrong_config_stops_before_any_job_and_names_all_that_is_wrong(clone: Path) -> None:
    wrong = {
        "trian={epochs: 3}": r"config\.trian .*Did you mean train\?",
        "train={epochs: ten}": r"config\.train\.epochs: expected a whole number, got 'ten'",
        "evaluate={batch_size: 0}": r"config\.evaluate\.batch_size: 0 is out of range \(at least 1\)",
        "seeds=0": r"config\.seeds: expected a list, got 0",
    }
    run = run_snakemake(clone, "-n", "--configfile", "config/quick.yaml", "--config", *wrong)
    assert run.returncode == 1
    for words in wrong.values():
        assert re.search(words, run.stdout + run.stderr)
    assert "Traceback" not in run.stdout + run.stderr


@pytest.mark.parametrize(
    ("file", "added", "options", "words"),
    [
        ("config/quick.yaml", "\ntrain: {epochs: 50}\n", [], "config/quick.yaml: 'train' is given twice (line "),
        ("config/quick.yaml", "", ["--config", "train={epochs: 3, epochs: 5}"], "--config: 'epochs' is given twice"),
        ("config/quick.yaml", "", ["-C", "seeds=[1]", "-C", "data_root=x"], "--config is given twice"),
        ("profiles/local/config.yaml", "\ncores: 1\n", [], "profiles/local/config.yaml: 'cores' is given twice"),
    ],
)
def test_what_is_given_twice_stops_before_any_job(
    clone: Path, file: str, added: str, options: list[str], words: str
) -> None:
    """Snakemake's own reader keeps the last without a word."""
    with (clone / file).open("a") as opened:
        opened.write(added)
    run = run_snakemake(clone, "-n", "--configfile", "config/quick.yaml", "--profile", "profiles/local", *options)
    assert run.returncode == 1
    assert words in run.stdout + run.stderr
    assert "Traceback" not in run.stdout + run.stderr


def test_without_snakemakes_notes_a_plan_says_what_was_made_with_other_settings(clone: Path) -> None:
    """As in a clone to which results were copied: to Snakemake itself there is nothing to be done."""
    model = clone / "results/lungs/models/covid/resnet34/scratch/base/seed0/model.pt"
    model.parent.mkdir(parents=True)
    model.touch()
    made = {"preprocess": {}, "settings": {"epochs": 2}}
    record = {"stage": "train", "settings": made, "inputs": {}, "outputs": {model.name: "0"}}
    save_record(record_path(model), record)
    plan = ("-n", "--configfile=config/lungs.yaml", str(model.relative_to(clone)))
    run = run_snakemake(clone, *plan)
    assert "made with other settings: train.epochs: 2, now 50 (1 file)" in run.stderr
    write_json(record_path(model), record)  # unsigned
    run = run_snakemake(clone, *plan)
    assert "model.pt.json was changed or damaged" in run.stdout + run.stderr
    assert "Traceback" not in run.stdout + run.stderr


def test_no_config_says_how_to_choose_a_study(clone: Path) -> None:
    run = run_snakemake(clone, "-n")
    assert run.returncode == 1
    assert "--configfile=config/demo.yaml" in run.stdout + run.stderr
