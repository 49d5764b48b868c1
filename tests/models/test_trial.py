"""One run of a search, from its question to its trial file: killed, promoted, failed, torn, or asked twice."""

import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import trial
from cxrflow.config.layout import ModelId
from cxrflow.config.settings import PreprocessSettings, TrainSettings
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import read_json, write_json
from cxrflow.files.leases import hold_lease
from cxrflow.models import epochs
from cxrflow.models.checkpoints import load_checked
from cxrflow.select.tuning import DONE, FAILED, IDLE
from tests.models.toy import equal_weights, toy_images, toy_labels, toy_rows, write_packed

ROOT = Path(__file__).resolve().parents[2]
PARAMETERS = {"learning_rate": 0.01, "batch_size": 8}
LAST = 8  # epochs of the last rung


def ask(folder: Path, *runs: tuple[int, int | None, int], **parameters: Any) -> Path:
    """Write the questions of a generation: (run, trial, epochs) each."""
    questions = [
        {
            "run": run,
            "trial": number,
            "generation": 0,
            "rung": 0,
            "epochs": n,
            "parameters": {**PARAMETERS, **parameters},
        }
        for run, number, n in runs
    ]
    write_json(folder / "generation0.json", questions)
    return folder / "generation0.json"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    """Write a packed toy dataset; return the arguments of run_trial but for the question and its answer."""
    data = tmp_path / "16px-equalized-blur5"
    data.mkdir()
    write_packed(data, toy_images(toy_labels(51), 16), toy_rows(toy_labels(51), n_train=30, n_val=12))
    return {
        "images": [tmp_path / "other" / "images.npy", data / "images.npy"],
        "split": data / "split.csv",
        "model_id": ModelId("toy", "tiny", variant="trial", seed=1000).path,
        "preprocess": PreprocessSettings(size_px=16),
        "train": TrainSettings(epochs=LAST, restart_epochs=3),
        "threads": 1,
        "folder": tmp_path / "search",
    }


def run(files: dict[str, Any], asked: Path, number: int) -> dict[str, Any]:
    """Run one run and return its trial file, without the seconds."""
    path = files["folder"] / "trials" / f"{number:04d}.json"
    trial.run_trial(**files, asked=asked, run=str(number), trial=path)
    answer: dict[str, Any] = read_json(path)
    answer.pop("seconds", None)
    return answer


def checkpoint_of(folder: Path, number: int, epoch: int) -> dict[str, Any]:
    (path,) = (folder / "resume" / f"trial{number:04d}").glob(f"*/epoch_{epoch:04d}.pt")
    state: dict[str, Any] = load_checked(path)["state"]
    for row in state["history"]:
        del row["seconds"], row["images_per_s"]
    return state


def test_a_promoted_trial_is_the_same_as_one_that_never_stopped(
    files: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, from the middle of a cycle: weights, the optimizer's moments, the kept epoch, the curve."""
    monkeypatch.setattr(trial.CheckpointStore, "clear", lambda store: None)  # to look at the last one
    asked = ask(tmp_path, (0, 0, 4), (5, 0, LAST))
    stopped = run(files, asked, 0)
    promoted = run(files, asked, 5)
    whole = run(files | {"folder": tmp_path / "at once"}, asked, 5)
    assert (stopped["state"], len(stopped["curve"]), len(promoted["curve"])) == (DONE, 4, LAST)
    assert promoted["curve"][:4] == stopped["curve"]
    assert promoted == whole
    two, one = (checkpoint_of(folder, 0, LAST) for folder in (files["folder"], tmp_path / "at once"))
    assert equal_weights(two["network"], one["network"])
    assert equal_weights(two["best"]["state_dict"], one["best"]["state_dict"])
    assert two["history"] == one["history"]
    moments = [state["optimizer"]["state"] for state in (two, one)]
    assert all(equal_weights(moments[0][place], moments[1][place]) for place in moments[1])


def test_a_promoted_trial_trains_only_what_is_left(
    files: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []
    plain = epochs.run_epoch
    monkeypatch.setattr(epochs, "run_epoch", lambda training, epoch: trained.append(epoch) or plain(training, epoch))
    asked = ask(tmp_path, (0, 0, 4), (5, 0, LAST))
    first = run(files, asked, 0)
    assert run(files, asked, 5)["state"] == DONE
    assert trained == [1, 2, 3, 4, 5, 6, 7, 8]
    assert not list((files["folder"] / "resume").glob("*/*/*.pt")), "nothing is left that could go on"
    # its first answer is deleted, as Snakemake does before it makes a file again: it is taken back, of the right rung
    assert run(files, asked, 0) == first
    for path in (files["folder"] / "kept").glob("*.json"):
        path.write_text("torn")
    assert run(files, asked, 0) == first
    assert trained == [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4]


def test_the_value_is_that_of_the_kept_epoch(files: dict[str, Any], tmp_path: Path) -> None:
    answer = run(files, ask(tmp_path, (3, 3, 4)), 3)
    assert answer["value"] == answer["curve"][answer["epoch_kept"] - 1]
    assert answer["parameters"] == PARAMETERS


@pytest.mark.slow  # a process that imports torch
def test_a_trial_that_is_killed_goes_on_and_answers_the_same(files: dict[str, Any], tmp_path: Path) -> None:
    """By SIGKILL in mid-trial, from a process of its own."""
    asked = ask(tmp_path, (0, 0, LAST))
    code = (
        "import sys, pathlib, tests.models.toy as toy\n"
        "from cxrflow.config.backbones import BACKBONES\n"
        "from cxrflow.config.settings import PreprocessSettings, TrainSettings\n"
        "import pickle, time, trial\n"
        "BACKBONES['tiny'] = toy.TINY\n"
        "trial.epoch_line = lambda row, best: time.sleep(0.2) or f'epoch {row.epoch}'\n"
        "trial.run_trial(**pickle.loads(bytes.fromhex(sys.argv[1])))\n"
    )
    given = {**files, "asked": asked, "run": "0", "trial": files["folder"] / "trials" / "0000.json"}
    with subprocess.Popen(
        [sys.executable, "-u", "-c", code, pickle.dumps(given).hex()],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'scripts'}", "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        for line in process.stdout or ():
            if line.startswith("epoch 3"):
                process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not given["trial"].exists()
    assert list((files["folder"] / "resume" / "trial0000").glob("*/epoch_*.pt")), "killed before any checkpoint"
    answer = run(files, asked, 0)
    assert answer == run(files | {"folder": tmp_path / "alone"}, asked, 0)


def test_a_training_that_diverges_is_a_failed_trial_and_no_failed_job(files: dict[str, Any], tmp_path: Path) -> None:
    asked = ask(tmp_path, (2, 2, 4), learning_rate=1e30)
    answer = run(files, asked, 2)
    assert (answer["state"], answer["value"]) == (FAILED, None)
    assert "the training has diverged" in answer["error"]
    assert not (files["folder"] / "kept").exists(), "a failure is tried anew when it is asked anew"


def test_too_little_memory_is_a_failed_trial_and_a_full_disk_is_not(
    files: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ask(tmp_path, (2, 2, 4))

    def fail(error: Exception) -> None:
        monkeypatch.setattr(epochs, "run_epoch", lambda *_: (_ for _ in ()).throw(error))

    fail(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nGPU 0 has ..."))
    assert run(files, asked, 2)["error"] == "CUDA out of memory. Tried to allocate 2 GiB."
    for error in (OSError(28, "No space left on device"), CxrflowError("images.npy is damaged"), RuntimeError("a bug")):
        fail(error)
        with pytest.raises(type(error)):
            run(files, asked, 2)


def test_of_two_heads_one_trains_and_the_other_is_told_so(files: dict[str, Any], tmp_path: Path) -> None:
    asked = ask(tmp_path, (0, 0, 4))
    with hold_lease(files["folder"] / "resume" / "trial0000", "run 0, of trial 0"):
        with pytest.raises(CxrflowError, match="run 0, of trial 0 is already running: process"):
            run(files, asked, 0)
        assert not (files["folder"] / "trials").exists()
    assert run(files, asked, 0)["state"] == DONE


def test_where_no_trial_goes_on_a_run_says_so(files: dict[str, Any], tmp_path: Path) -> None:
    assert run(files, ask(tmp_path, (5, None, LAST)), 5)["state"] == IDLE
