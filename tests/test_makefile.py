"""The environment that make builds: never deleted before there is another, nor through a link, nor under what runs."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Stands for a Python: builds an environment and installs in no time. What it is asked for goes into asked.txt.
PYTHON = f"""#!/bin/sh
echo "$0 $@" >> asked.txt
for last; do :; done
case "$1 $2" in
  "-m venv") mkdir -p "$last/bin" && cp "$0" "$last/bin/python" ;;
  "-m pip") [ ! -e offline ] ;;
  "-c "*) exec {shlex.quote(sys.executable)} "$@" ;;
esac
"""


class Clone:
    """A clone in which make can run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.venv = folder, folder / ".venv"
        self.lock, self.asked = folder / "envs/requirements.txt", folder / "asked.txt"
        self.lock.parent.mkdir(parents=True)
        self.lock.write_text("# the lock\n")
        shutil.copy(ROOT / "Makefile", folder)
        (folder / "python").write_text(PYTHON)
        (folder / "python").chmod(0o755)

    def make(self, target: str) -> "subprocess.CompletedProcess[str]":
        self.asked.write_text("")
        command = ["make", target, "PYTHON=./python"]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)

    def installs(self) -> bool:
        return "-m pip install" in self.asked.read_text()

    def names(self) -> set[str]:
        return {path.name for path in self.folder.glob(".venv*")}


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """Give a clone with its environment, in which a file shows whether that was deleted."""
    clone = Clone(tmp_path / "a clone")
    run = clone.make("setup")
    assert run.returncode == 0, run.stderr
    assert clone.installs()
    (clone.venv / "witness").touch()
    return clone


def test_times_do_not_count(clone: Clone) -> None:
    os.utime(clone.lock, (4e9, 4e9))
    for target in ("setup", "slurm-check"):
        assert clone.make(target).returncode == 0
        assert not clone.installs()
    assert (clone.venv / "witness").exists()


def test_a_changed_lock_builds_beside_and_a_lock_switched_back_installs_nothing(clone: Clone) -> None:
    first, lock = clone.venv.resolve(), clone.lock.read_text()
    clone.lock.write_text("# another")
    run = clone.make("slurm-check")
    assert run.returncode == 0
    assert f"{first.name} is kept" in run.stdout
    second = clone.venv.resolve()
    assert second != first
    assert (first / "witness").exists()
    assert clone.asked.read_text().splitlines()[-1].startswith(f"{second}/bin/python scripts/slurm_check.py")
    clone.lock.write_text(lock)
    assert clone.make("setup").returncode == 0
    assert not clone.installs()
    assert clone.venv.resolve() == first


def test_what_cannot_be_installed_leaves_the_environment_as_it_was(clone: Clone) -> None:
    first, names = clone.venv.resolve(), clone.names()
    clone.lock.write_text("# another")
    (clone.folder / "offline").touch()
    assert clone.make("setup").returncode
    assert clone.venv.resolve() == first
    assert clone.names() == names


def test_two_at_once_do_not_delete_each_others_work(clone: Clone) -> None:
    unfinished = clone.venv.resolve()
    (unfinished / "witness").touch()
    (unfinished / f".installed-{unfinished.name.rpartition('-')[2]}").unlink()
    run = clone.make("setup")
    assert f"another make is installing into {unfinished.name}, or was killed" in run.stdout
    assert (unfinished / "witness").exists()


@pytest.mark.parametrize("linked", [True, False])
def test_an_environment_that_is_a_persons_is_used_or_left_alone(clone: Clone, tmp_path: Path, linked: bool) -> None:
    second = Clone(tmp_path / "second")
    if linked:
        second.venv.symlink_to(clone.venv)
    else:
        shutil.copytree(clone.venv, second.venv)
    assert second.make("setup").returncode == 0
    assert not second.installs()
    second.lock.write_text("# another")
    run = second.make("setup")
    assert run.returncode
    assert ".venv is yours or shared, and it was not made from envs/requirements.txt as it is now" in run.stdout
    assert (second.venv / "witness").exists()
    assert second.names() == {".venv"}


def test_clean_removes_what_make_made_and_nothing_through_a_link(clone: Clone, tmp_path: Path) -> None:
    second = Clone(tmp_path / "second")
    second.venv.symlink_to(clone.venv)
    for each in (clone, second):
        (each.folder / ".venv-mine").mkdir()
    assert second.make("clean").returncode == 0
    assert second.names() == {".venv-mine"}
    assert (clone.venv / "witness").exists()
    assert clone.make("clean").returncode == 0
    assert clone.names() == {".venv-mine"}


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux to see what a process runs from")
def test_clean_deletes_nothing_under_what_runs(clone: Clone) -> None:
    shutil.copy(shutil.which("sleep") or "", clone.venv / "bin/job")
    with subprocess.Popen([clone.venv / "bin/job", "60"], env={}) as job:
        run = clone.make("clean")
        job.kill()
    assert f"these processes run from the environment: {job.pid}." in run.stdout
    assert (clone.venv / "witness").exists()
    lock = clone.folder / ".snakemake/locks/0.input.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    assert "a Snakemake works in this folder" in clone.make("clean").stdout
    assert (clone.venv / "witness").exists()


@pytest.mark.parametrize("action", ["up", "down"])
def test_the_throwaway_cluster_deletes_no_other_folder(tmp_path: Path, action: str) -> None:
    (tmp_path / "slurm.conf").touch()
    command = [sys.executable, ROOT / "tests/slurm/cluster.py", action, tmp_path]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "is no throwaway cluster, so it is left alone" in run.stderr
    assert (tmp_path / "slurm.conf").exists()


def test_git_ignores_environments_logs_and_data_also_as_links(tmp_path: Path) -> None:
    shutil.copy(ROOT / ".gitignore", tmp_path)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    for name in (".venv", "data", "logs"):
        (tmp_path / name).symlink_to("elsewhere")
    status = subprocess.run(["git", "status", "--short"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert status.stdout == "?? .gitignore\n"
