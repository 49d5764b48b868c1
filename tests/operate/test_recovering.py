"""What a killed Snakemake left, from made-up locks, logs and queues; and the whole command on a real lock."""

import os
import platform
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cxrflow.errors import CxrflowError
from cxrflow.operate.recovering import (
    COMMANDS,
    Process,
    cancel_jobs,
    describe_leftovers,
    find_leftovers,
    read_last_run,
    refuse_if_running,
    wait_for_end,
)
from cxrflow.operate.slurm import SlurmError
from recover import recover
from tests.operate.conftest import RUN_ID, FakeCommand, job_line
from tests.workflow.conftest import ROOT, copy_workflow

RULE = re.compile(r"^rule (\w+):", re.MULTILINE)
TRAIN = "rule_train_wildcards_covid_resnet34_scratch_base_0"


def write_log(folder: Path, *, host: str = "", command: str = "", config: str = "") -> None:
    log = folder / ".snakemake/log/2026-01-02T030405.000000.snakemake.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    header = f"SNAKEMAKE\n=========\n  Host: {host}\n  Command: {command}\n  Config file(s): [PosixPath('{config}')]\n"
    log.write_text(header if host else "Building DAG of jobs...\n")


def write_lock(folder: Path, *files: str) -> None:
    lock = folder / ".snakemake/locks/0.output.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text("\n".join(files) + "\n")


def test_orphans_are_the_active_snakemake_jobs_of_this_folder(folder: Path, fake: FakeCommand) -> None:
    lines = [
        job_line("1", "RUNNING", TRAIN, folder),
        job_line("2", "PENDING", TRAIN, folder),
        job_line("3", "COMPLETED", TRAIN, folder),
        job_line("4", "RUNNING", TRAIN, folder / "sub"),
        job_line("5", "RUNNING", "", folder, name="my_snakemake.sh"),
        job_line("6", "RUNNING", TRAIN, folder, name=f"my_lungs_{RUN_ID}"),
        job_line("7", "RUNNING", "", folder, name=f"{RUN_ID}.sh"),
    ]
    fake("squeue", "".join(lines))
    found = find_leftovers(folder)
    assert [job.job_id for job in found.orphans] == ["1", "2", "6"]
    text = describe_leftovers(found)
    assert re.search(rf"^1 +RUNNING +1:02 +{TRAIN}$", text, re.MULTILINE)


def test_a_folder_reached_by_a_link_is_the_same(folder: Path, fake: FakeCommand, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    fake("squeue", job_line("1", "RUNNING", TRAIN, link))
    assert len(find_leftovers(folder).orphans) == 1


def test_a_queue_that_does_not_answer_is_not_an_empty_queue(folder: Path, fake: FakeCommand) -> None:
    fake("squeue", status=1, error="Unable to contact slurm controller")
    with pytest.raises(SlurmError, match="Unable to contact"):
        find_leftovers(folder)
    write_log(folder)
    assert find_leftovers(folder).orphans == [], "no run of this folder has used Slurm"
    log = next((folder / ".snakemake/log").iterdir())
    log.write_text(log.read_text() + f"SLURM run ID: {RUN_ID}\n")
    with pytest.raises(SlurmError, match="Unable to contact"):
        find_leftovers(folder)


def test_without_slurm_only_the_lock_is_looked_at(folder: Path, bare_path: Path) -> None:
    assert not find_leftovers(folder).is_locked
    write_lock(folder, "results/toy/report.html")
    found = find_leftovers(folder)
    assert (found.is_locked, found.n_running) == (True, 0)
    assert "no Slurm" in describe_leftovers(found)


def test_waiting_ends_when_the_queue_is_empty_and_says_each_change_once(folder: Path, fake: FakeCommand) -> None:
    one, two = job_line("1", "RUNNING", TRAIN, folder), job_line("2", "PENDING", TRAIN, folder)
    queues = iter([one + two, one, ""])
    fake("squeue", one + two)
    said: list[str] = []
    wait_for_end(folder, said.append, sleep=lambda _s: fake("squeue", next(queues)))
    assert [line.split("waiting for ")[1][0] for line in said] == ["2", "1"]


@pytest.mark.parametrize(
    ("host", "refused"),
    [
        (platform.node(), False),
        (f"{platform.node().split('.')[0]}.cluster.example", False),
        ("login2.cluster", True),
        ("", True),
    ],
)
def test_a_head_that_cannot_be_seen_from_here_is_not_taken_for_dead(
    folder: Path, bare_path: Path, host: str, refused: bool
) -> None:
    write_lock(folder, "a")
    write_log(folder, host=host, command="snakemake")
    found = find_leftovers(folder)
    refuse_if_running(found, head_is_dead=True)
    if refused:
        with pytest.raises(CxrflowError, match="--head-is-dead"):
            refuse_if_running(found, head_is_dead=False)
    else:
        refuse_if_running(found, head_is_dead=False)


def test_the_command_is_known_after_an_unlock(folder: Path) -> None:
    write_log(folder, host="here", command="snakemake --cores 2")
    (folder / ".snakemake/log/9999-01-01T000000.snakemake.log").write_text("Unlocked working directory.")
    last = read_last_run(folder)
    assert last is not None
    assert (last.command.split(" (")[0], last.host) == ("snakemake --cores 2", "")


def test_a_living_head_stops_everything(folder: Path, bare_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    fake_head = folder / "snakemake"
    fake_head.write_text("import sys; sys.stdin.read()")
    with subprocess.Popen([command[0], fake_head], stdin=subprocess.PIPE, cwd=folder) as process:
        try:
            with pytest.raises(CxrflowError, match=f"process {process.pid}"):
                refuse_if_running(find_leftovers(folder), head_is_dead=True)
        finally:
            process.communicate()
    assert find_leftovers(folder).heads == []


@pytest.mark.parametrize(
    ("words", "role"),
    [
        ("/venv/bin/python /venv/bin/snakemake --profile profiles/slurm", "head"),
        ("python -m snakemake --cores 2", "head"),
        ("snakemake -n", ""),
        ("python -m snakemake --snakefile Snakefile --target-jobs train: --nolock --mode remote", ""),
        ("vim snakemake.md", ""),
        ("python scripts/train.py --model snakemake", "worker"),
        ("/venv/bin/python /x/scripts/evaluate.py", "worker"),
        ("python scripts/status.py --watch 5", ""),
        ("python scripts/recover.py", ""),
        ("less scripts/train.log", ""),
    ],
)
def test_a_head_is_a_snakemake_that_obeys_no_other_and_a_worker_a_rules_command(words: str, role: str) -> None:
    process = Process(1, tuple(words.split()))
    assert (process.is_head, process.is_worker) == (role == "head", role == "worker")


def test_command_and_configs_of_the_last_run_are_read_from_its_log(folder: Path) -> None:
    write_log(folder, host="h", command="/venv/bin/snakemake --config train={epochs: 3}", config="/x/config/quick.yaml")
    last = read_last_run(folder)
    assert last is not None
    assert last.command.endswith("train={epochs: 3} (with the quotes that you typed)"), "killed before its first job"
    log = next((folder / ".snakemake/log").iterdir())
    log.write_text(log.read_text() + "\nTo start this run again: snakemake --config 'train={epochs: 3}'\n")
    last = read_last_run(folder)
    assert last is not None
    assert last.command == "snakemake --config 'train={epochs: 3}'"
    assert last.configs == [Path("/x/config/quick.yaml")]


def start_and_kill_snakemake(clone: Path) -> None:
    """Start a Snakemake that runs one long job, and kill it as the system would."""
    (clone / "scripts/phantom.py").write_text("import time\ntime.sleep(600)\n")
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--configfile", "config/demo.yaml"]
    command += ["--config", "seeds=[0, 1]"]
    with subprocess.Popen(
        command, cwd=clone, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as head:
        deadline = time.monotonic() + 240  # a busy machine
        while not (clone / "results/demo/phantoms.log").exists():
            assert head.poll() is None, "Snakemake ended by itself"
            assert time.monotonic() < deadline, "Snakemake started no job"
            time.sleep(0.2)
        os.killpg(head.pid, signal.SIGKILL)


def run_recover(clone: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(ROOT / "scripts/recover.py"), *arguments]
    return subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)


@pytest.mark.slow  # a whole study, killed
def test_one_command_repairs_the_folder_of_a_killed_study(
    tmp_path: Path, fake: FakeCommand, bare_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{bare_path}:/usr/bin:/bin")  # Snakemake needs a shell
    clone = copy_workflow(tmp_path / "a clone")
    start_and_kill_snakemake(clone)
    assert list((clone / ".snakemake/locks").iterdir())

    head = job_line("8", "RUNNING", "", clone, name="head")
    fake("squeue", job_line("7", "RUNNING", TRAIN, clone) + head)
    listed = run_recover(clone)
    assert listed.returncode == 0, listed.stderr
    assert "recover.py --wait" in listed.stdout
    assert (clone / ".snakemake/locks").exists(), "without a choice it must not unlock while jobs run"

    fake("squeue", head)
    (bare_path / "scancel").write_text(f'#!/bin/sh\necho "$*" >> {bare_path}/scancel.args\n')
    (bare_path / "scancel").chmod(0o755)
    done = run_recover(clone, "--cancel")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "  snakemake --cores 1 --configfile config/demo.yaml --config 'seeds=[0, 1]'\n" in done.stdout
    assert not (clone / ".snakemake/locks").exists()
    assert not (bare_path / "scancel.args").exists(), "nothing was left to cancel"


def test_only_the_orphans_are_cancelled(
    folder: Path, fake: FakeCommand, bare_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orphan, head = job_line("1", "RUNNING", TRAIN, folder), job_line("5", "RUNNING", "", folder, name="head")
    fake("squeue", orphan + head)
    fake("scancel")
    script = bare_path / "scancel"
    script.write_text(script.read_text().replace("exit 0", f": > '{bare_path}/squeue.out'\nexit 0"))
    recover(cancel=True)
    assert (bare_path / "scancel.args").read_text() == "1\n"
    with pytest.raises(CxrflowError, match="choose one"):
        recover(cancel=True, wait=True)


def test_what_a_user_typed_is_not_the_command_of_a_rule() -> None:
    """Such as a predict that runs in the folder: recover --cancel must not end it."""
    rules = {name for path in (ROOT / "workflow/rules").glob("*.smk") for name in RULE.findall(path.read_text())}
    assert {path.stem for path in (ROOT / "scripts").glob("*.py")} - rules == COMMANDS


def test_cancelling_ends_the_processes_of_this_machine_too(folder: Path, bare_path: Path) -> None:
    script = folder / "scripts/train.py"
    script.parent.mkdir()
    script.write_text("import sys; print('begun', flush=True); sys.stdin.read()")
    with subprocess.Popen(
        [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            cancel_jobs(find_leftovers(folder))
            assert process.wait(20) == -signal.SIGTERM
        finally:
            process.kill()
