"""A job of the Slurm plugin that got less than was asked for stops, with the line to change."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from cxrflow.config import allocation
from cxrflow.config.allocation import check_allocation
from cxrflow.errors import CxrflowError


@pytest.fixture(autouse=True)
def job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be in a job with two GPUs and four cores."""
    monkeypatch.setenv("CXRFLOW_REMOTE", "1")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2, 3})


def test_what_was_asked_for_is_there(tmp_path: Path) -> None:
    check_allocation(2, 4, [tmp_path, tmp_path / "not there yet"])
    assert list(tmp_path.iterdir()) == []


def test_where_slurm_does_not_say_which_gpus_there_are_torch_has_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    check_allocation(1, 4, [])


@pytest.mark.parametrize(
    ("gpus", "threads", "visible", "words"),
    [
        (3, 4, "0,3", "3 GPU.s. belong to this job and 2 are visible .* `gpu:` in profiles/slurm/site.yaml"),
        (1, 4, "NoDevFiles", "1 GPU.s. belong to this job and 0 are visible"),
        (0, 5, "", "5 threads are to compute and 4 cores are allowed .* set-threads of profiles/slurm/config.yaml"),
    ],
)
def test_too_few_gpus_or_cores_stop(
    monkeypatch: pytest.MonkeyPatch, gpus: int, threads: int, visible: str, words: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(CxrflowError, match=words):
        check_allocation(gpus, threads, [])
    monkeypatch.delenv("CXRFLOW_REMOTE")  # a person's own job: fewer may be meant
    check_allocation(gpus, threads, [])


def test_a_full_disk_and_a_wrong_clock_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=1_000_000))
        with pytest.raises(CxrflowError, match=r"has 1 MB free .*: free space there"):
            check_allocation(0, 1, [tmp_path])
    now = allocation.time.time()
    monkeypatch.setattr(allocation.time, "time", lambda: now - 300)
    with pytest.raises(CxrflowError, match="300 s behind that of"):
        check_allocation(0, 1, [tmp_path])
