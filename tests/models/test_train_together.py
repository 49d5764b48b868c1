"""scripts/train.py with several processes: they start, go on from a checkpoint, write once, and stop together."""

import dataclasses
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import train
from cxrflow.config.settings import PreprocessSettings, TrainSettings, settings_json
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import read_json
from cxrflow.files.records import EpochRow, SplitRow
from cxrflow.files.tables import read_records, write_records
from cxrflow.models import training
from cxrflow.models.checkpoints import load_model
from cxrflow.models.networks import build_network
from tests.models.toy import toy_images, toy_labels, toy_rows

SETTINGS = TrainSettings(epochs=3, batch_size=8)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    """Write a packed toy dataset; return the arguments of train_model."""
    labels = toy_labels(24)
    np.save(tmp_path / "images.npy", toy_images(labels, 16))
    write_records(tmp_path / "split.csv", SplitRow, toy_rows(labels, n_train=16, n_val=6))
    paths = {"images": "images.npy", "split": "split.csv", "resume": "resume", "history": "history.csv"}
    return {
        **{name: tmp_path / file for name, file in {**paths, "summary": "training.json", "model": "model.pt"}.items()},
        "model_id": "toy/mobilenet_v3_large/scratch/base/seed0",
        "preprocess": PreprocessSettings(size_px=16),
        "settings": SETTINGS,
        "device": "cpu",
        "gpus": 2,
        "threads": 2,
    }


def begin_alone(files: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Train in one process until the last epoch begins."""
    run_epoch = training.run_epoch

    def stop(state: training.Training, epoch: int) -> EpochRow:
        if epoch == SETTINGS.epochs:
            raise CxrflowError("interrupted")
        return run_epoch(state, epoch)

    monkeypatch.setattr(training, "run_epoch", stop)
    with pytest.raises(CxrflowError, match="interrupted"):
        train.train_model(**{**files, "gpus": 1})


def test_a_training_begun_on_one_goes_on_on_two(
    files: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    begin_alone(files, monkeypatch)
    begun = next(line.split() for line in capfd.readouterr().out.splitlines() if line.split()[:1] == ["1"])
    train.train_model(**files)
    said = capfd.readouterr().out
    assert said.count("going on after epoch") == said.count("kept epoch") == 1
    assert "gpus 1 -> 2" in said
    assert ": MobileNetV3-Large on 2 x " in said
    history, saved = read_records(files["history"], EpochRow), load_model(files["model"])
    assert [row.epoch for row in history] == [1, 2, 3]
    assert f"{history[0].train_loss:.4f}" == begun[2]
    assert read_json(files["summary"])["device_name"].startswith("2 x ")
    assert saved.val_loss == read_json(files["summary"])["val_loss"] == min(row.val_loss for row in history)
    assert saved.state_dict.keys() == build_network("mobilenet_v3_large", 2, 0.1).state_dict().keys()
    assert not files["resume"].exists()


def test_missing_gpus_stop_before_anything_is_written(files: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(CxrflowError, match=r"compute\.gpus is 2, and PyTorch sees 0"):
        train.train_model(**{**files, "device": "auto"})
    assert not files["resume"].exists()


@pytest.mark.slow
def test_sigterm_ends_all_with_143_and_one_line(files: dict[str, Any]) -> None:
    flags = {
        **files,
        "preprocess": settings_json(files["preprocess"]),
        "settings": settings_json(dataclasses.replace(SETTINGS, epochs=10_000)),
    }
    command = [sys.executable, str(Path(train.__file__))]
    for name, value in flags.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.split()[:1] == ["2"]:  # after the second epoch
                break
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()  # ends when the last process that can write has ended
        assert process.wait(timeout=60) == 143
    assert rest.count("stopped by SIGTERM") == 1
    assert not any(files[name].exists() for name in ("history", "summary", "model"))
    left = [path.name for path in files["resume"].rglob("*") if path.is_file()]
    assert "epoch_0001.pt" in left
    assert not [name for name in left if name.endswith(".tmp") or name == "lease.json"]
