"""Findings on made-up clusters, file systems and Pythons: each fault is named with its remedy."""

from pathlib import Path

import pytest

import slurm_check
from cxrflow.operate import folder_checks
from cxrflow.operate.cluster_checks import Finding, check_cluster
from cxrflow.operate.folder_checks import check_places, check_python, check_weights, find_mount, judge_python
from cxrflow.operate.jobs import Job, read_profile
from tests.operate.conftest import FakeCommand, make_study, write
from tests.workflow.conftest import ROOT

SINFO = (
    "cpu*|up|1-00:00:00|64|257000|3|idle|(null)|(null)\ngpu|up|1-00:00:00|64|512000|2|mixed|gpu:a100:8(S:0-1)|gpu80gb\n"
)
CONFIG = {
    "AccountingStorageType": "accounting_storage/slurmdbd",
    "AccountingStorageEnforce": "associations",
    "MinJobAge": "300 sec",
}
JOBS = [
    Job("index", threads=8, resources={"mem_mb": 2000, "runtime": 120}),
    Job("train", threads=4, resources={"mem_mb": 12000, "runtime": 480, "gpu": 1}),
]
SAID = {"version": "3.12.1", "is_old": False, "base": "/usr", "torch": "2.14", "cuda": "13.0", "plugin": True}


@pytest.fixture
def good(fake: FakeCommand, folder: Path, bare_path: Path) -> FakeCommand:
    """A cluster on which all is well, and the project's own profile."""
    for name in ("profiles", "scripts"):
        (folder / name).symlink_to(ROOT / name)
    for name in ("sbatch", "squeue", "scancel", "sacct"):
        fake(name)
    fake("sinfo", SINFO)
    fake("sacctmgr", "lungs|normal\n")
    set_config(bare_path, CONFIG)
    return fake


def set_config(bare_path: Path, config: dict[str, str]) -> None:
    lines = "\n".join(f"echo '{key} = {value}'" for key, value in config.items())
    script = bare_path / "scontrol"
    script.write_text(f"#!/bin/sh\nif [ $1 = ping ]; then echo 'Slurmctld(primary) at head is UP'; else {lines}\nfi\n")
    script.chmod(0o755)


def find(profile: str = "profiles/slurm", jobs: list[Job] = JOBS) -> list[Finding]:
    return check_cluster(read_profile(Path(profile)), jobs)[0]


def problems(profile: str = "profiles/slurm", jobs: list[Job] = JOBS) -> list[str]:
    return [str(finding) for finding in find(profile, jobs) if finding.level == "PROBLEM"]


def write_profile(folder: Path, config: str, site: str = "partitions: {cpu: {}, gpu: {max_gpu: 4}}") -> str:
    mine = folder / "mine"
    mine.mkdir()
    (mine / "config.yaml").write_text(f"executor: slurm\njobs: 9\nslurm-partition-config: mine/site.yaml\n{config}\n")
    (mine / "site.yaml").write_text(site)
    return "mine"


def test_a_good_cluster_has_no_problem_and_its_gpus_are_listed(good: FakeCommand, bare_path: Path) -> None:
    findings = find()
    assert [str(finding) for finding in findings if finding.level != "OK"] == []
    text = "\n".join(map(str, findings))
    assert "has GPUs: a100; to choose a model: `gpu_model: a100` beside `gpu: 1` in profiles/slurm/site.yaml" in text
    assert "account by default; yours: lungs; your qos: normal" in text
    assert "partition gpu takes train" in text
    assert "sbatch --test-only takes every request: 2" in text
    assert "-p gpu -t 480 --mem 12000 --cpus-per-task=4 --gpus=1 --test-only" in (bare_path / "sbatch.args").read_text()


def test_without_slurm_there_is_one_clear_line(folder: Path, bare_path: Path) -> None:
    for name in ("profiles", "scripts"):
        (folder / name).symlink_to(ROOT / name)
    (line,) = problems()
    assert "no sbatch" in line
    assert "login node" in line


def test_a_controller_that_does_not_answer(good: FakeCommand) -> None:
    good("scontrol", "Slurmctld(primary) at head is DOWN\n", status=1)
    (line,) = problems()
    assert "head is DOWN" in line


@pytest.mark.parametrize(
    ("sinfo", "words"),
    [
        (SINFO.replace("gpu|up", "a100|up"), "partition gpu is not on this cluster -> rename it"),
        (SINFO.replace("gpu|up", "gpu|down"), "partition gpu is down"),
        (SINFO.replace("mixed", "drained"), "partition gpu: no node takes jobs (drained)"),
        (SINFO.replace("gpu:a100:8(S:0-1)", "(null)"), "gpu: no gres gpu, and train ask for it -> there is: none"),
        (SINFO.replace("1-00:00:00|64|512000", "4:00:00|64|512000"), "has 240 minutes, less than train ask for"),
        (SINFO.replace("64|257000", "4|257000"), "has 4 CPUs of a node, less than index ask for"),
        (SINFO.replace("512000", "8000"), "has 8000 MB of a node, less than train ask for"),
    ],
)
def test_what_is_wrong_with_a_partition(good: FakeCommand, sinfo: str, words: str) -> None:
    good("sinfo", sinfo)
    assert any(words in line for line in problems()), problems()


def test_a_limit_that_no_job_reaches_is_a_note(good: FakeCommand) -> None:
    good("sinfo", SINFO.replace("|64|257000", "|32|257000"))
    (note,) = [str(finding) for finding in find() if finding.level == "note"]
    assert problems() == []
    assert "allows 64 CPUs of a node in cpu, which has 32 -> a job that asks for more would be refused" in note


def test_gpu_jobs_need_a_partition_with_gpus_in_the_file(good: FakeCommand, folder: Path) -> None:
    profile = write_profile(folder, "", "partitions: {cpu: {}}")
    assert problems(profile, JOBS[:1]) == []
    assert any("takes train: cpu has max_gpu 0 for 1" in line for line in problems(profile))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"gpu_model": "h100"}, "gpu: no gres gpu:h100, and train ask for it -> there is: gpu, gpu:a100"),
        ({"gpu": 0, "gres": "gpu:h100:1"}, "gpu: no gres gpu:h100"),
        ({"gpu": 0, "gres": "gpu:1,lscratch:100"}, "gpu: no gres lscratch"),
        ({"gpu": 0, "gres": "gpu:1,lscratch:100"}, "train would not be submitted: Invalid GRES format"),
        ({"constraint": "[gpu80gb*2|rack1]"}, "gpu: no constraint rack1, and train ask for it -> there is: gpu80gb"),
        ({"qos": "fast"}, "your accounts: no qos fast, and train ask for it -> there is: normal"),
        ({"slurm_partition": "long"}, "partition long is not on this cluster -> rename it"),
        ({"gpu": 5}, "takes train: cpu has max_gpu 0 for 5; gpu has max_gpu 4 for 5"),
    ],
)
def test_every_name_that_a_job_asks_for_is_on_the_cluster(
    good: FakeCommand, folder: Path, asked: dict[str, int | str], words: str
) -> None:
    profile = write_profile(folder, "")
    assert any(words in line for line in problems(profile, [Job("train", resources={"gpu": 1, **asked})]))


def test_what_slurm_would_refuse_is_a_problem_with_the_request(good: FakeCommand, folder: Path) -> None:
    good("sbatch", status=1, error="allocation failure: Job violates accounting/QOS policy")
    (line,) = problems(
        write_profile(folder, ""), [Job("train", resources={"gpu": 1}), Job("train", resources={"gpu": 1})]
    )
    assert "train: sbatch failed: allocation failure: Job violates accounting/QOS policy" in line
    assert line.endswith("-p gpu --cpus-per-task=1 --gpus=1")


def test_an_account_of_somebody_else(good: FakeCommand, folder: Path) -> None:
    profile = write_profile(folder, "")
    jobs = [Job("train", resources={"slurm_account": "hearts"})]
    (line,) = problems(profile, jobs)
    assert "your accounts: no slurm_account hearts, and train ask for it -> there is: lungs" in line


@pytest.mark.parametrize(("enforce", "level"), [("associations,limits", "PROBLEM"), ("none", "note")])
def test_no_account_at_all(good: FakeCommand, bare_path: Path, enforce: str, level: str) -> None:
    good("sacctmgr")
    set_config(bare_path, CONFIG | {"AccountingStorageEnforce": enforce})
    assert [f.level for f in find() if "no account for you" in f.text] == [level]


def test_a_cluster_without_accounting_needs_no_account(good: FakeCommand, bare_path: Path) -> None:
    set_config(bare_path, CONFIG | {"AccountingStorageType": "accounting_storage/none"})
    (bare_path / "sacctmgr").unlink()
    assert problems() == []


def test_a_queue_that_forgets_jobs_too_soon(good: FakeCommand, bare_path: Path) -> None:
    set_config(bare_path, CONFIG | {"MinJobAge": "59 sec"})
    (line,) = problems()
    assert "MinJobAge is 59 s" in line
    assert "to 19 or less" in line
    set_config(bare_path, CONFIG | {"MinJobAge": "60 sec"})
    assert problems() == []


def test_sacct_must_answer_if_the_profile_asks_it(good: FakeCommand, folder: Path) -> None:
    good("sacct", status=1, error="Slurm accounting storage is disabled")
    profile = write_profile(folder, "slurm-status-command: sacct")
    assert problems(profile) == ["PROBLEM  sacct failed: Slurm accounting storage is disabled"]


def test_a_path_lies_on_the_file_system_that_df_names(fake: FakeCommand, tmp_path: Path) -> None:
    assert find_mount(tmp_path) == ("?", "?"), "no df here"
    fake("df", "Mounted on     Type\n/scratch two   lustre\n")
    assert find_mount(tmp_path) == ("/scratch two", "lustre")


@pytest.mark.parametrize(
    ("kind", "n_nodes", "level"),
    [(kind, 2, "OK") for kind in ("gpfs", "ceph", "fuse.ceph-fuse", "beegfs_nodev", "nfs", "fuse.glusterfs")]
    + [(kind, 2, "note") for kind in ("ext4", "xfs", "tmpfs", "overlay", "btrfs", "nfsd", "?")]
    + [("ext4", 1, "OK"), ("ext4", None, "note")],
)
def test_kinds_that_machines_share_and_a_local_disk_is_enough_for_one_node(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, n_nodes: int | None, level: str
) -> None:
    monkeypatch.setattr(folder_checks, "find_mount", lambda _path: ("/", kind))
    assert [finding.level for finding in check_places({"it": tmp_path}, n_nodes)] == [level]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": "3.10.2", "is_old": True}, "3.11 is the oldest"),
        ({"plugin": False}, "no snakemake-executor-plugin-slurm"),
        ({"error": "ImportError: libcudart.so"}, "cannot import torch and torchvision: ImportError: libcudart.so"),
        ({"cuda": ""}, "has no CUDA"),
    ],
)
def test_what_a_python_lacks(change: dict[str, object], words: str) -> None:
    findings = list(judge_python(Path("python"), SAID | change, wants_gpu=True))
    assert any(finding.level == "PROBLEM" and words in finding.text for finding in findings)
    assert [finding.level for finding in judge_python(Path("python"), SAID, wants_gpu=True)] == ["OK"]


def test_a_torch_without_cuda_is_enough_where_no_job_asks_for_a_gpu() -> None:
    assert [finding.level for finding in judge_python(Path("p"), SAID | {"cuda": ""}, wants_gpu=False)] == ["OK"]


@pytest.mark.parametrize(("place", "said"), [("env", "does not run"), ("my env", "has a space in its path")])
def test_a_python_that_no_job_can_run_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, said: str
) -> None:
    for name in ("snakemake", "python"):
        write(tmp_path / place / name, "#!/bin/sh\nexit 1\n").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / place))
    assert said in next(iter(check_python(1, wants_gpu=False))).text


def test_weights_that_are_missing_are_a_note_with_their_name(folder: Path) -> None:
    study, weights = make_study(), folder / "data/weights/resnet34-b627a593.pth"
    (absent,) = check_weights(study, [weights])
    assert (absent.level, "resnet34-b627a593.pth" in absent.text) == ("note", True)
    write(weights)
    assert [finding.level for finding in check_weights(study, [weights])] == ["OK"]
    assert list(check_weights(study, [])) == []


def test_the_command_ends_with_1_and_says_that_there_is_no_sbatch(
    bare_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(slurm_check, "dry_run", lambda *_words: JOBS)
    with pytest.raises(SystemExit) as end:
        slurm_check.check_slurm()
    assert end.value.code == 1
    said = capsys.readouterr().out
    assert "PROBLEM  no sbatch, squeue" in said
    assert "no snakemake on the PATH" in said
