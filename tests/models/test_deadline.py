"""A training leaves before its job's time is up, and only then."""

import math
import stat
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from cxrflow.models.resume import RESERVE_S, SPREAD, Deadline, find_deadline


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


def answer(said: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a squeue that says when job 77 ends, and be that job."""
    squeue = folder / "squeue"
    squeue.write_text(f'#!/bin/sh\n[ "$3 $5 $SLURM_TIME_FORMAT" = "77 %e standard" ] && {said}\n')
    squeue.chmod(squeue.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_JOB_ID", "77")


def test_slurm_is_asked_in_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(f"echo {datetime.now() + timedelta(days=2, seconds=100):%Y-%m-%dT%H:%M:%S}", tmp_path, monkeypatch)
    deadline = find_deadline()
    assert deadline.at_s - deadline.clock() == pytest.approx(2 * 86400 + 100, abs=5)


@pytest.mark.parametrize(
    ("said", "reason"),
    [("echo N/A", "Invalid isoformat string: 'N/A'"), ("", "")],  # of a job that has not started; no squeue here
)
def test_an_answer_that_is_not_a_time_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], said: str, reason: str
) -> None:
    answer(said, tmp_path, monkeypatch)
    if not said:
        monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert find_deadline().at_s == math.inf
    assert f"Slurm does not say when job 77 ends ({reason}" in capsys.readouterr().out
