"""Profiles and dry runs are read as Snakemake and its Slurm plugin mean them; errors reach the user in clear words."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import plan
import recover
import slurm_check
import status
from cxrflow.config.loading import read_mapping
from cxrflow.config.stages import build_parser
from cxrflow.errors import CxrflowError
from cxrflow.operate.jobs import Call, Job, choose_config, dry_run, find_dependencies, parse_jobs, read_profile
from tests.operate.conftest import CONFIG, model_job, write
from tests.workflow.conftest import ROOT, copy_workflow

RECORDED = (Path(__file__).parent / "dry_run.txt").read_text()  # of Snakemake 9.27


def write_profile(folder: Path, config: str, site: str = "partitions: {cpu: {}}") -> Path:
    write(folder / "site.yaml", site)
    write(folder / "config.yaml", f"slurm-partition-config: {folder}/site.yaml\n{config}")
    return folder


def test_a_recorded_dry_run_gives_its_jobs() -> None:
    jobs = {job.rule: job for job in parse_jobs(RECORDED)}
    assert set(jobs) == {"index", "preprocess", "split", "train", "evaluate"}
    train = jobs["train"]
    assert (train.threads, train.ask("mem_mb"), train.ask("runtime"), train.gpus) == (4, 12000, 480, 1)
    assert train.title == "train covid/resnet34/imagenet/base/seed0"
    assert "results/lungs/models/covid/resnet34/imagenet/base/seed0/model.pt" in train.outputs
    assert train.log == "results/lungs/models/covid/resnet34/imagenet/base/seed0/train.log"
    assert "disk_mb" not in train.resources, "what Snakemake does not know yet is not a request"
    assert (jobs["split"].threads, jobs["split"].title) == (1, "split covid")


def test_jobs_wait_for_those_that_make_their_inputs() -> None:
    jobs = parse_jobs(RECORDED)
    after = {jobs[i].rule: {jobs[j].rule for j in others} for i, others in enumerate(find_dependencies(jobs))}
    assert after["train"] == {"preprocess", "split"}
    assert after["index"] == set()
    assert after["evaluate"] == {"train", "preprocess", "split"}


def test_rules_that_only_collect_are_not_jobs() -> None:
    assert parse_jobs("rule all:\n    input: a\n    jobid: 0\n\nlocalrule b:\n    output: a\n    jobid: 1\n") == [
        Job("b", outputs=("a",))
    ]


@pytest.mark.parametrize(
    ("asked", "gpus"), [({}, 0), ({"gpu": 2}, 2), ({"gpu": 0, "gres": "gpu:a100:2"}, 2), ({"gres": "gpu"}, 1)]
)
def test_gpus_are_asked_for_by_number_or_by_gres(asked: dict[str, int | str], gpus: int) -> None:
    assert Job("train", resources=asked).gpus == gpus


def test_a_failed_dry_run_says_why_in_its_own_words(folder: Path) -> None:
    write(folder / "Snakefile", "from snakemake.exceptions import WorkflowError\nraise WorkflowError('no tea')\n")
    with pytest.raises(CxrflowError, match="no tea"):
        dry_run()


@pytest.mark.slow
def test_the_demo_is_planned_whole(tmp_path: Path) -> None:
    """One real dry run: the workflow prints jobs in full, with the wildcards in the order of the Slurm plugin."""
    clone = copy_workflow(tmp_path / "it's a clone")
    jobs = dry_run(*Call(Path("config/demo.yaml"), ("seeds=[0, 1]",), Path("profiles/demo")).words, folder=clone)
    trainings = [job for job in jobs if job.rule == "train"]
    assert len(trainings) == 24
    assert all(tuple(job.wildcards) == ("dataset", "backbone", "init", "variant", "seed") for job in trainings)
    assert all(job.resources["device"] == "cpu" and job.log.endswith("/train.log") for job in trainings)
    after = find_dependencies(jobs)
    assert all(after[i] for i, job in enumerate(jobs) if job.rule == "summarize")


def test_a_cluster_limits_jobs_and_a_machine_cores(tmp_path: Path) -> None:
    cluster = read_profile(write_profile(tmp_path, "executor: slurm\njobs: 50\n"))
    assert (cluster.is_cluster, cluster.limit_name, cluster.limit, cluster.gpus) == (True, "jobs", 50, None)
    folder = write_profile(tmp_path, "cores: 8\nresources: {gpu: 1}\nconfigfile: config/demo.yaml")
    local = read_profile(folder, jobs=6)
    assert (local.is_cluster, local.limit_name, local.limit, local.gpus) == (False, "cores", 6, 1)
    assert local.configfile == Path("config/demo.yaml")
    assert read_profile(write_profile(tmp_path, "cores: all\nresources: [in_turn=1, gpu=2]")).gpus == 2
    assert read_profile(write_profile(tmp_path, "cores: all")).limit >= 1


def test_a_profile_without_a_number_of_jobs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CxrflowError, match="say --jobs N"):
        read_profile(write_profile(tmp_path, "keep-going: true\n"))
    with pytest.raises(CxrflowError, match=r"none/config\.yaml"):
        read_profile(tmp_path / "none")


@pytest.mark.parametrize(
    ("runtime", "minutes"), [("2-00:00:00", 2880), ("1d", 1440), ("12h", 720), ("1440", 1440), ('"2:30"', 150)]
)
def test_a_site_file_is_read_as_the_slurm_plugin_reads_it(tmp_path: Path, runtime: str, minutes: float) -> None:
    found = read_profile(write_profile(tmp_path, "jobs: 1", f"partitions: {{cpu: {{max_runtime: {runtime}}}}}"))
    assert [(each.name, each.limits.max_runtime) for each in found.partitions] == [("cpu", minutes)]


@pytest.mark.parametrize(
    ("site", "words"),
    [
        ("partitions: {cpu: {max_runtime: soon}}", r"site\.yaml: .*Invalid time format: 'soon'"),
        ("account: mine", r"site\.yaml: .*missing 'partitions'"),
        ("partitions: {cpu: {max_time: 3}}", r"site\.yaml: .*max_time"),
        ("partitions: {cpu: , gpu: {max_gpu: 1}}", r"site\.yaml: .*compare them with the repository's"),
    ],
)
def test_a_wrong_site_file_is_named(tmp_path: Path, site: str, words: str) -> None:
    with pytest.raises(CxrflowError, match=f"(?s){words}"):
        read_profile(write_profile(tmp_path, "jobs: 1", site))


def test_a_job_goes_where_the_slurm_plugin_sends_it_or_the_limit_is_named(tmp_path: Path) -> None:
    site = "partitions: {cpu: {max_runtime: 1d}, gpu: {max_runtime: 12h, max_gpu: 1, available_gpu_models: [a100]}}"
    profile = read_profile(write_profile(tmp_path, "jobs: 1", site))
    assert profile.partition_of(Job("index", resources={"runtime": 100})) == "cpu"
    assert profile.partition_of(Job("train", resources={"runtime": 100, "gpu": 1})) == "gpu"
    assert profile.partition_of(Job("train", resources={"gpu": 9, "slurm_partition": "big"})) == "big"
    for asked, why in (
        ({"gpu": 2}, "takes train: cpu has max_gpu 0 for 2; gpu has max_gpu 1 for 2"),
        ({"gpu": 1, "runtime": 721}, "gpu has max_runtime 720 for 721"),
        ({"gpu": 1, "gpu_model": "h100"}, "gpu has no such GPU model"),
        ({"gpu": 1, "gres": "gpu:1"}, "cannot read what train asks for"),
    ):
        with pytest.raises(CxrflowError, match=why):
            profile.partition_of(Job("train", resources=asked))


@pytest.mark.parametrize("runtime", ["1d", "12h", "1-00:00:00", "2d12h"])
def test_the_profile_of_the_workflow_reads_its_site_file_in_the_same_way(
    folder: Path, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a file passed the check, and then `snakemake -n` could not add minutes to text."""
    (folder / "scripts").symlink_to(ROOT / "scripts")
    write(folder / "profiles/slurm/config.yaml", (ROOT / "profiles/slurm/config.yaml").read_text())
    write(folder / "profiles/slurm/site.yaml", f"partitions: {{cpu: {{max_runtime: {runtime}}}, gpu: {{max_gpu: 1}}}}")
    minutes = read_profile(Path("profiles/slurm")).partitions[0].limits.max_runtime
    asked = read_mapping(Path("profiles/slurm/config.yaml"))["set-resources"]
    assert asked["index"]["runtime"] == f"min(120 * getattr(attempt, 'time', attempt), {minutes})"
    assert asked["train"]["runtime"] == f"min(480 * getattr(attempt, 'time', attempt), {10**9})", "no limit"


def test_the_profile_of_the_workflow_takes_no_key_of_its_site_file_twice(folder: Path) -> None:
    (folder / "scripts").symlink_to(ROOT / "scripts")
    write(folder / "profiles/slurm/config.yaml", (ROOT / "profiles/slurm/config.yaml").read_text())
    write(folder / "profiles/slurm/site.yaml", "partitions: {a: {max_gpu: 1}}\naccount: x\naccount: y\n")
    with pytest.raises(CxrflowError, match=r"site\.yaml: 'account' is given twice \(line 2 and line 3\)"):
        read_mapping(Path("profiles/slurm/config.yaml"))


def test_a_study_is_found_by_its_name(folder: Path) -> None:
    write(folder / "config/my_lungs.yaml", "study: lungs\n")
    assert choose_config(None, "lungs") == Path("config/my_lungs.yaml")
    assert choose_config(Path("a.yaml")) == Path("a.yaml")
    elsewhere = write(folder / "elsewhere/hearts.yaml", "study: hearts\n")
    assert choose_config(None, "hearts", [folder / "gone.yaml", elsewhere]) == elsewhere
    assert choose_config(elsewhere, "hearts") == elsewhere
    with pytest.raises(CxrflowError, match=r"hearts\.yaml has the study 'lungs'; known: hearts"):
        choose_config(elsewhere, "lungs")
    with pytest.raises(CxrflowError, match=r"no file in config/.* has the study 'other'; known: lungs"):
        choose_config(None, "other")
    with pytest.raises(CxrflowError, match="say which study is meant"):
        choose_config(None)
    again = write(folder / "elsewhere/lungs.yaml", "study: lungs\n")
    with pytest.raises(
        CxrflowError, match=r"'lungs' is in .*elsewhere/lungs\.yaml and config/my_lungs\.yaml: say which"
    ):
        choose_config(None, "lungs", [again])


def test_settings_may_be_replaced_as_for_snakemake() -> None:
    call = Call(ROOT / "config/lungs.yaml", ("train={epochs: 3}", "seeds=[0, 1]"))
    study = call.load()
    assert study.settings.train.epochs == 3
    assert {model.seed for model in study.models()} == {0, 1}
    assert call.words[:3] == ["--config", "train={epochs: 3}", "seeds=[0, 1]"]


@pytest.mark.parametrize(
    "command",
    [plan.plan_study, status.show_status, recover.recover, slurm_check.check_slurm],
    ids=lambda each: each.__module__,
)
def test_every_command_about_a_run_takes_the_settings_that_snakemake_was_given(command: Callable[..., None]) -> None:
    assert "'train={epochs: 3}'" in " ".join(build_parser(command).format_help().split())


def test_status_asks_snakemake_for_all_jobs_once_and_for_those_that_remain(
    folder: Path, bare_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [model_job(), model_job("evaluate")]
    asked: list[tuple[str, ...]] = []

    def dry_run_of(*words: str) -> list[Job]:
        asked.append(words)
        return jobs if "--forceall" in words else jobs[1:]

    monkeypatch.setattr(status, "dry_run", dry_run_of)
    write(folder / "config/new.yaml", json.dumps(CONFIG))
    status.show_status(study="new", config=["seeds=[0, 1]"])
    said = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["train", "1", "."] in said
    assert ["evaluate", ".", "1"] in said
    assert all(words[-5:-3] == ("--config", "seeds=[0, 1]") for words in asked)
