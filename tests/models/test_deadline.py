"""A training leaves before its job's time is up, and only then."""

import math
import stat
from pathlib import Path

import pytest

from cxrflow.models.deadline import RESERVE_S, SPREAD, Deadline, find_deadline, parse_time_left


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("59", 59), ("4:05", 245), ("1:00:00", 3600), ("2-03:04:05", 183845), ("UNLIMITED", None), ("INVALID", None)],
)
def test_squeues_time_left_in_seconds(text: str, seconds: float | None) -> None:
    assert parse_time_left(text) == seconds


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


def test_slurm_is_asked_in_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    squeue = tmp_path / "squeue"
    squeue.write_text('#!/bin/sh\n[ "$3" = 77 ] && echo 1:40\n')
    squeue.chmod(squeue.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    deadline = find_deadline()
    assert deadline.at_s - deadline.clock() == pytest.approx(100, abs=5)


def test_where_slurm_does_not_answer_it_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    assert find_deadline().at_s == math.inf
    assert "Slurm does not say when job 77 ends" in capsys.readouterr().out
