"""A folder with a study, and Slurm commands that say what a test wants."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

FakeCommand = Callable[..., None]
RUN_ID = "0a1b2c3d-0000-4000-8000-123456789abc"


@pytest.fixture
def bare_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty folder that is all of the PATH: no Slurm, whatever this machine has."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def fake(bare_path: Path) -> FakeCommand:
    """Give a maker of commands: `fake("squeue", "text")` prints the text, and writes its arguments to squeue.args."""

    def make(name: str, says: str = "", *, status: int = 0, error: str = "") -> None:
        (bare_path / f"{name}.out").write_text(says)
        (bare_path / f"{name}.err").write_text(error)
        script = bare_path / name
        says_all = f'/bin/cat "{script}.out"\n/bin/cat "{script}.err" >&2'
        script.write_text(f'#!/bin/sh\necho "$*" >> "{script}.args"\n{says_all}\nexit {status}\n')
        script.chmod(0o755)

    return make


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a working directory to stand in."""
    home = tmp_path / "study folder"
    home.mkdir()
    monkeypatch.chdir(home)
    return home


def job_line(job_id: str, state: str, comment: str, folder: Path, *, name: str = RUN_ID, nodes: str = "node1") -> str:
    """Return a line as squeue prints it in the form of JOB_FIELDS."""
    return f"{job_id}|{state}|1:02|{nodes}|{name}|{comment}|None|{os.fspath(folder)}\n"
