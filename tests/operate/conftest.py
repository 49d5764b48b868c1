"""A folder with a study, what a plan knows of it, and Slurm commands that say what a test wants."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cxrflow.operate.estimate import Known
from cxrflow.operate.image_counts import count_all
from cxrflow.operate.measurements import read_measurements
from tests.operate.measured import make_study

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


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty results folder in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    return tmp_path / "results"


@pytest.fixture
def know(results: Path) -> Callable[..., Known]:
    """Give a function that reads all results and returns what a plan of `make_study` knows."""

    def read(**changes: Any) -> Known:
        study = make_study(**changes)
        return Known(study, read_measurements(sorted(results.iterdir())), count_all(study, study.settings.datasets))

    return read
