"""A training leaves before its job's time is up, and only then."""

import math
import stat
from pathlib import Path

import pytest

from cxrflow.models.deadline import RESERVE_S, SPREAD, Deadline, find_deadline


def test_another_epoch_starts_only_where_it_can_end() -> None:
    deadline = Deadline(at_s=1000.0, clock=lambda: 900.0)
    just_fits = (100.0 - RESERVE_S) / SPREAD
    assert deadline.allows([])
    assert deadline.allows([just_fits - 0.1])
    assert not deadline.allows([just_fits + 0.1])
    assert not deadline.allows([just_fits + 0.1, 1.0]), "the longest of the last epochs counts"
    assert deadline.allows([just_fits + 0.1, *[1.0] * 5]), "an epoch long ago does not"


def test_outside_of_slurm_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert find_deadline().at_s == math.inf


def answer(left: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a squeue that says how much time job 77 has left, and be that job."""
    squeue = folder / "squeue"
    squeue.write_text(f'#!/bin/sh\n[ "$3" = 77 ] && echo {left}\n')
    squeue.chmod(squeue.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_JOB_ID", "77")


@pytest.mark.parametrize(("left", "seconds"), [("1:40", 100), ("2-03:04:05", 183845), ("UNLIMITED", math.inf)])
def test_slurm_is_asked_in_a_job(left: str, seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(left, tmp_path, monkeypatch)
    deadline = find_deadline()
    assert deadline.at_s - deadline.clock() == pytest.approx(seconds, abs=5)


def test_an_answer_that_is_no_time_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer("INVALID", tmp_path, monkeypatch)
    assert find_deadline().at_s == math.inf
    assert "does not say when job 77 ends ('INVALID" in capsys.readouterr().out


def test_where_slurm_does_not_answer_it_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    assert find_deadline().at_s == math.inf
    assert "Slurm does not say when job 77 ends" in capsys.readouterr().out
