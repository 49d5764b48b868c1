"""A whole plan: sums, wall time, critical path, disk and text, of jobs by hand."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

import plan as plan_command
from cxrflow.operate.estimates import Estimator
from cxrflow.operate.jobs import Job, Profile, read_partitions
from cxrflow.operate.planning import Plan, describe_plan, describe_repeats, estimate_disk
from tests.operate.conftest import CONFIG, make_study, model_job, write, write_profile, write_training

LOCAL = Profile(Path("profiles/local/config.yaml"), is_cluster=False, limit_name="cores", limit=4)
CLUSTER = Profile(Path("profiles/slurm/config.yaml"), is_cluster=True, limit_name="jobs", limit=9)
PACK = Job("preprocess", outputs=("images.npy",), wildcards={"dataset": "covid", "recipe": "128px-equalized"})
JOBS = [PACK, *(model_job(seed=seed, threads=4) for seed in (0, 1)), model_job("evaluate")]
TRAIN_S, EVALUATE_S = 4 * (210 / 20 + 45 / 80), 90 / 80
MEASURE = "python scripts/plan.py --measure"


@pytest.fixture(autouse=True)
def measured(folder: Path) -> None:
    """Measure the rates on a CPU."""
    write_profile()


def make_plan(jobs: list[Job] = JOBS, profile: Profile = LOCAL) -> Plan:
    return Plan(jobs, profile, Estimator(make_study(), has_gpu=profile.is_cluster))


def say(plan: Plan, free_bytes: int = 1 << 40) -> str:
    return describe_plan(plan, free_bytes, MEASURE)


def on_gpu(**resources: int | str) -> list[Job]:
    return [replace(job, resources={"device": "cuda", "gpu": 1, **resources}) for job in JOBS[1:3]]


def test_the_critical_path_or_the_limit_decides_the_wall_time() -> None:
    path = make_plan().find_critical_path()
    assert [JOBS[place].title.split()[0] for place in path] == ["train", "evaluate"]
    assert make_plan().least_wall_s() == (pytest.approx(2 * TRAIN_S + EVALUATE_S / 4), "cores: 4")
    assert make_plan(profile=CLUSTER).least_wall_s() == (pytest.approx(TRAIN_S + EVALUATE_S), "the critical path")
    assert make_plan([]).find_critical_path() == []


def test_gpus_that_jobs_share_decide_the_wall_time() -> None:
    write_profile(device="cuda")
    plan = make_plan(on_gpu(), replace(LOCAL, limit=99, gpus=1))
    assert plan.least_wall_s() == (pytest.approx(2 * TRAIN_S), "gpu: 1")


def test_jobs_that_share_one_on_a_cluster_are_counted() -> None:
    study = make_study(seeds=[0, 1, 2], compute={"trainings_per_job": 2})
    jobs = [PACK, *(model_job(rule, seed=seed) for rule in ("train", "evaluate", "score") for seed in (0, 1, 2))]
    plan = Plan(jobs, CLUSTER, Estimator(study, has_gpu=True))
    assert "10 jobs, of which 9 share 4 Slurm jobs, and what each of them asks for" in say(plan)
    assert "10 jobs, and what each of them asks for" in say(Plan(jobs, LOCAL, Estimator(study, has_gpu=True)))


def test_gpu_hours_are_those_of_jobs_that_hold_one() -> None:
    plan = make_plan()
    assert plan.sum_s(plan.gpus_of) == 0
    assert "GPU time                    none" in say(plan)
    write_profile(device="cuda")
    for asked in ({}, {"gpu": 0, "gres": "gpu:a100"}):
        plan = make_plan(on_gpu(**asked), CLUSTER)
        assert plan.sum_s(plan.gpus_of) == pytest.approx(2 * TRAIN_S)
    asking = [replace(job, resources={"device": "cpu", "gpu": 1}) for job in JOBS[1:]]
    assert [make_plan(asking).gpus_of(job) for job in asking] == [0, 0, 0], "whether there is one or not"


def test_cpu_rates_give_no_hours_of_a_gpu_study_but_the_command_that_measures() -> None:
    plan = make_plan(on_gpu(), CLUSTER)
    text = say(plan)
    assert plan.lacking_rates() == ["resnet34"]
    assert "GPU time" not in text
    (line,) = [line for line in text.splitlines() if line.startswith("train ")]
    assert line.split()[1] == "2"
    assert line.endswith("unknown       images/s on the device that will compute are unknown")
    assert f"To measure resnet34 there, one short job each:\n  {MEASURE}" in text


@pytest.mark.parametrize("change", [{"variant": "wide"}, {"processes": 2}])
def test_what_profile_backbone_does_not_measure_is_not_offered(change: dict[str, str | int]) -> None:
    job = on_gpu()[0]
    job = replace(job, wildcards={**job.wildcards, **{key: str(value) for key, value in change.items()}})
    job = replace(job, resources={**job.resources, "processes": change.get("processes", 1)})
    study = make_study(variants={"wide": {"train": {"batch_size": 64}}})
    plan = Plan([job], CLUSTER, Estimator(study, has_gpu=True))
    assert plan.answers[0].seconds is None
    assert plan.lacking_rates() == []


def test_a_job_that_no_partition_takes_is_warned_of(tmp_path: Path) -> None:
    site = write(tmp_path / "site.yaml", "partitions: {gpu: {max_gpu: 1}}")
    profile = replace(CLUSTER, site_file=site, partitions=read_partitions(site))
    assert "WARNING" not in say(make_plan(on_gpu(), profile))
    text = say(make_plan(on_gpu(gpu=2), profile))
    assert text.count("WARNING: no partition of") == 1
    assert "takes train: gpu has max_gpu 1 for 2." in text


def test_what_is_known_needs_no_measurement_and_names_its_source() -> None:
    text = say(make_plan())
    assert MEASURE not in text
    assert "profile_backbone on Some CPU" in text
    assert "covid: 300 images, published, at most 100 a class" in text
    assert "without unknown jobs" in text
    assert [line for line in text.splitlines() if line.startswith("preprocess") and "never measured" in line]


def test_disk_is_a_byte_a_pixel_and_four_bytes_a_weight() -> None:
    sizes = {what: size for what, size, _ in estimate_disk(make_plan())}
    assert sizes == {"packed images": 300 * 128 * 128, "models": 2 * 4000, "checkpoints while training": 8 * 8000}
    alone = {what: size for what, size, _ in estimate_disk(make_plan(profile=replace(LOCAL, gpus=1)))}
    assert alone["checkpoints while training"] == 8 * 4000
    Path("results/new/backbones/resnet34.json").unlink()
    assert {what: size for what, size, _ in estimate_disk(make_plan())}["models"] is None
    assert "NOT ENOUGH" not in say(make_plan())
    assert "NOT ENOUGH" in say(make_plan(), free_bytes=1000)


def test_too_short_a_request_is_warned_of_on_a_cluster() -> None:
    short = [replace(job, resources={"device": "cpu", "runtime": 1}) for job in JOBS[1:]]
    longer = make_study(train={"epochs": 40, "batch_size": 16, "precise_batch_norm_images": 0})
    text = say(Plan(short, CLUSTER, Estimator(longer, has_gpu=False)))
    assert "WARNING: train covid/resnet34/scratch/base/seed0 is estimated at 7.4 min and asks for 1 min" in text
    assert "WARNING" not in say(Plan(short, LOCAL, Estimator(longer, has_gpu=False))), "nothing is killed here"
    assert "WARNING" not in say(make_plan([replace(JOBS[1], resources={"device": "cpu", "runtime": 9})], CLUSTER))


def run_plan(monkeypatch: pytest.MonkeyPatch, jobs: list[Job], **flags: bool) -> list[list[str]]:
    """Run scripts/plan.py on the jobs of a made-up dry run; return the commands that it ran."""
    commands: list[list[str]] = []

    def run(command: list[str], **_options: object) -> "subprocess.CompletedProcess[str]":
        commands.append(command[2:])
        write_profile(device="cuda")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(plan_command, "dry_run", lambda *_words: jobs)
    monkeypatch.setattr(plan_command.subprocess, "run", run)
    write(Path("profiles/slurm/config.yaml"), "executor: slurm\njobs: 9\n")
    write(Path("config/new.yaml"), json.dumps(CONFIG))
    plan_command.plan_study(profile=Path("profiles/slurm"), configfile=Path("config/new.yaml"), **flags)
    return commands


def test_measure_runs_only_the_profiles_that_are_missing_and_plans_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_plan(monkeypatch, on_gpu()) == []
    said = capsys.readouterr().out
    assert "--profile profiles/slurm --configfile=config/new.yaml --measure" in said
    (command,) = run_plan(monkeypatch, on_gpu(), measure=True)
    asked = (
        "snakemake results/new/backbones/resnet34.json --force --profile profiles/slurm --configfile=config/new.yaml"
    )
    assert command == asked.split()
    assert "GPU time" in capsys.readouterr().out
    assert run_plan(monkeypatch, on_gpu(), measure=True) == [], "all is known now"


def test_no_jobs_no_plan() -> None:
    assert say(make_plan([])).startswith("Nothing to do")


def test_what_a_search_finds_is_trained_later_and_its_trials_keep_checkpoints() -> None:
    space = {"learning_rate": {"low": 1e-4, "high": 1e-2}}
    search = {
        "dataset": "covid",
        "backbone": "resnet34",
        "space": space,
        "generations": 1,
        "per_generation": 2,
        "rungs": [2, 4],
    }
    study = make_study(tune={"found": search}, seeds=[0, 1])
    parts = {"search": "found"}
    jobs = [Job("trial", wildcards={**parts, "run": f"{n:04d}"}, resources={"device": "cpu"}) for n in (0, 1)]
    plan = Plan([*jobs, Job("choose_settings", wildcards=parts)], LOCAL, Estimator(study, has_gpu=False))
    assert all(plan.times[:2]), "by the rate of the base"
    assert "What found will find is then trained, 2 models, in a second run." in say(plan)
    assert ("checkpoints of trials", 2 * 8 * 4000) in [line[:2] for line in estimate_disk(plan)]
    assert "second run" not in say(make_plan())


def test_finished_trainings_that_would_run_again_are_told_with_their_reasons() -> None:
    write_training(train=0.1)
    jobs = [replace(job, reason="Code has changed since last execution") for job in JOBS]
    assert "finished, and would run again" in say(make_plan(jobs))
    asked = [(job.rule, job.outputs, job.reason) for job in jobs]
    told = describe_repeats(asked, 0.5)
    assert told.count("Code has changed") == 1, "the other seed has not been trained yet"
    assert "'compute={repeat_hours: 1}'" in told
    assert describe_repeats(asked, 1) == ""
