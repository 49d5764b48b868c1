"""One training in two processes on the CPU, which normalize their own rows: torch's SyncBatchNorm needs GPUs."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import train
from cxrflow.config.parsing import settings_json
from cxrflow.config.settings import PreprocessSettings, TrainSettings
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import read_json
from cxrflow.files.records import EpochRow
from cxrflow.files.tables import read_records
from cxrflow.models import ranks as ranks_module
from cxrflow.models.checkpoints import load_model
from cxrflow.models.networks import build_network
from cxrflow.models.ranks import Ranks, check_gpus, run_together
from tests.models import rank_task
from tests.models.toy import (
    equal_weights,
    toy_data,
    toy_images,
    toy_labels,
    toy_rows,
    toy_training,
    training_files,
    write_packed,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_two_ranks_train_one_model_on_every_image_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the error of one of them is raised by the launcher, in its words."""
    monkeypatch.setattr(sys, "argv", [rank_task.__file__, str(tmp_path)])
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'scripts'}")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        with pytest.raises(CxrflowError, match="what went wrong in rank 1"):
            run_together(2, "cpu")
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1))
    assert equal_weights(first["weights"], second["weights"])
    assert first["curves"] == second["curves"]
    assert np.isfinite(first["curves"]).all()
    halves = [(len(one["seen"]) // 2, one["seen"]) for one in (first, second)]
    for epoch in (0, 1):
        seen = [place for half, places in halves for place in places[epoch * half : (epoch + 1) * half]]
        assert sorted(seen) == list(range(26))


def test_parts_are_contiguous_and_as_equal_as_can_be() -> None:
    parts = [Ranks(rank, 3).own_part(slice(10, 18)) for rank in range(3)]
    assert parts == [slice(10, 12), slice(12, 15), slice(15, 18)]


@pytest.mark.parametrize(
    ("n_train", "n_val", "n_ranks", "message"),
    [
        (3, 0, 1, "3 train and 0 val images; at least 2 and 1"),
        (7, 12, 4, "7 train and 12 val images; at least 8 and 4"),
        (30, 3, 4, "30 train and 3 val images; at least 8 and 4"),
        (30, 12, 4, r"train.batch_size is 7, and 4 processes need 2 images each: set train.batch_size to 8"),
    ],
)
def test_too_little_for_all_ranks_stops(n_train: int, n_val: int, n_ranks: int, message: str) -> None:
    with pytest.raises(CxrflowError, match=message):
        toy_training(TrainSettings(batch_size=7), toy_data(n_train, n_val), ranks=Ranks(0, n_ranks))


def test_fewer_gpus_than_processes_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for device in ("auto", "cuda"):
        with pytest.raises(CxrflowError, match=r"compute.gpus is 2, and PyTorch sees 1 on .*set compute.gpus to 1"):
            check_gpus(2, device)
    check_gpus(2, "cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_gpus(2, "auto")


LOST = {"message": "RuntimeError: Connection closed", "extraInfo": {"py_callstack": "the traceback"}}
OURS = {"message": "CxrflowError: the remedy", "extraInfo": {"py_callstack": "..."}}


def failure(exitcode: int, timestamp: int, message: Any = "") -> SimpleNamespace:
    """Make what torchrun knows about a rank that failed."""
    name = signal.Signals(abs(exitcode)).name if exitcode < 0 else "none"
    return SimpleNamespace(exitcode=exitcode, timestamp=timestamp, message=message, signal_name=lambda: name)


@pytest.mark.parametrize(
    ("failures", "kind", "words"),
    [
        ({0: failure(1, 5, LOST), 1: failure(-9, 6)}, CxrflowError, "rank 1 of the 2 .* by SIGKILL .*Run the same"),
        ({0: failure(1, 5, LOST), 1: failure(1, 5, OURS)}, CxrflowError, "^the remedy$"),
        ({0: failure(-9, 20), 1: failure(1, 5, LOST)}, RuntimeError, "1 of the 2 .* failed\nrank 1:\nthe traceback"),
        ({0: failure(77, 5, "no exception")}, RuntimeError, "1 of the 2 processes of this training failed"),
    ],
    ids=["killed", "a remedy", "killed later by the launcher", "left without an exception"],
)
def test_the_cause_is_named(failures: dict[int, Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        raise ranks_module._explain_failure(failures, 2)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    """Write a packed toy dataset; return the flags of train.py."""
    labels = toy_labels(24)
    write_packed(tmp_path, toy_images(labels, 32), toy_rows(labels, n_train=16, n_val=6))
    return training_files(tmp_path, tmp_path) | {
        "model_id": "toy/mobilenet_v3_large/scratch/base/seed0",
        "preprocess": settings_json(PreprocessSettings(size_px=32)),
        "device": "cpu",
        "gpus": 2,
        "threads": 2,
    }


@contextmanager
def started(files: dict[str, Any], epochs: int) -> Iterator[subprocess.Popen[str]]:
    flags = {**files, "settings": settings_json(TrainSettings(epochs=epochs, batch_size=8))}
    command = [sys.executable, str(Path(train.__file__))]
    for name, value in flags.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        yield process


def read_until(process: subprocess.Popen[str], epoch: int) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.split()[:1] == [str(epoch)]:
            return


def read_rest(process: subprocess.Popen[str], status: int) -> str:
    """Return what is still printed; it ends when the last process that can write has ended."""
    assert process.stdout is not None
    rest = process.stdout.read()
    assert process.wait(timeout=60) == status
    return rest


def ranks_of(process: subprocess.Popen[str]) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


@pytest.mark.slow
def test_a_killed_rank_ends_the_training_which_then_resumes(files: dict[str, Any]) -> None:
    with started(files, epochs=12) as process:
        read_until(process, 2)
        os.kill(ranks_of(process)[1], signal.SIGKILL)
        said = read_rest(process, status=1)
    assert "error: rank 1 of the 2 processes of this training was ended by SIGKILL" in said
    assert "Traceback" not in said
    assert not files["model"].exists()
    with started(files, epochs=12) as process:
        said = read_rest(process, status=0)
    assert said.count("resuming after epoch") == said.count("kept epoch") == 1
    saved, history = load_model(files["model"]), read_records(files["history"], EpochRow)
    assert ": MobileNetV3-Large on 2 x " in said
    assert [row.epoch for row in history] == [*range(1, 13)]
    assert saved.val_loss == read_json(files["training"])["val_loss"] == min(row.val_loss for row in history)
    assert saved.state_dict.keys() == build_network("mobilenet_v3_large", 2, 0.1).state_dict().keys()
    assert not files["resume"].exists()


@pytest.mark.slow
@pytest.mark.parametrize("gpus", [1, 2])
def test_sigterm_ends_all_with_143_and_one_line(files: dict[str, Any], gpus: int) -> None:
    with started({**files, "gpus": gpus}, epochs=10_000) as process:
        read_until(process, 2)
        process.send_signal(signal.SIGTERM)
        said = read_rest(process, status=143)
    assert said.count("stopped by SIGTERM") == 1
    assert not any(files[name].exists() for name in ("history", "training", "model"))
    left = [path.name for path in files["resume"].rglob("*") if path.is_file()]
    assert "epoch_0001.pt" in left
    assert not [name for name in left if name.endswith(".tmp") or name == "lease.json"]


def test_an_error_is_left_for_the_launcher_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(file))
    dump = json.dump

    def look(*values: Any) -> None:
        assert not file.exists(), "torchrun would read half of it"
        dump(*values)

    monkeypatch.setattr(json, "dump", look)
    ranks_module.report_to_launcher(CxrflowError("the disk is full"))
    assert "the disk is full" in json.loads(file.read_text())["message"]["message"]
