"""A folder with a study, results made by hand, and Slurm commands that print what a test wants."""

import json
import os
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import snakemake_executor_plugin_slurm  # noqa: F401  # asks for `which` when it is imported, which `bare_path` has not

from cxrflow.config.layout import ModelId
from cxrflow.config.loading import load_study
from cxrflow.config.study import Study
from cxrflow.files.records import EpochRow
from cxrflow.files.tables import write_records
from cxrflow.operate.jobs import Job

FakeCommand = Callable[..., None]
RUN_ID = "0a1b2c3d-0000-4000-8000-123456789abc"
CONFIG: dict[str, Any] = {
    "study": "new",
    "datasets": {"covid": {"reader": "covid_radiography", "folder": "covid"}},
    "backbones": ["resnet34"],
    "index": {"max_images_per_class": 100},
    "preprocess": {"size_px": 128, "blur_px": 0},
    "train": {"epochs": 4, "batch_size": 16, "precise_batch_norm_images": 0},
    "compute": {"device": "cpu"},
}


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
    """Give a working folder to be in."""
    home = tmp_path / "study folder"
    home.mkdir()
    monkeypatch.chdir(home)
    return home


def job_line(job_id: str, state: str, comment: str, folder: Path, *, name: str = RUN_ID, nodes: str = "node1") -> str:
    """Return a line as squeue prints it in the form of JOB_FIELDS."""
    return f"{job_id}|{state}|1:02|{nodes}|{name}|{comment}|None|{os.fspath(folder)}\n"


def make_study(**changes: Any) -> Study:
    """Return a study of one model, three classes of at most 100 images: 210 to train, 45 to validate, 45 to test."""
    return load_study({**CONFIG, **changes})


def model_job(rule: str = "train", dataset: str = "covid", seed: int = 0, **changes: Any) -> Job:
    """Return a job of ResNet-34 as the dry run of `make_study` prints it."""
    folder = f"results/new/models/{ModelId(dataset, 'resnet34', seed=seed).path}"
    parts = {"dataset": dataset, "backbone": "resnet34", "init": "scratch", "variant": "base", "seed": str(seed)}
    files = {"train": ("model.pt", "history.csv"), "evaluate": ("predictions.csv",), "score": ("metrics.json",)}
    inputs = {"train": ("images.npy",), "evaluate": (f"{folder}/model.pt",), "score": (f"{folder}/predictions.csv",)}
    values: dict[str, Any] = {
        "inputs": inputs[rule],
        "outputs": tuple(f"{folder}/{name}" for name in files[rule]),
        "log": f"{folder}/{rule}.log",
        "wildcards": parts,
        "resources": {"device": "cpu"} if rule != "score" else {},
    }
    return Job(rule, **{**values, **changes})


def write(path: Path, text: str = "") -> Path:
    """Write a file and the folders around it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def write_training(*, train: float = 10.0, infer: float = 50.0, seed: int = 0, **place: Any) -> None:
    """Write a finished training of `make_study`: 100 train and 10 validation images, at these images/s, two epochs."""
    folder = Path("results/new/models", ModelId("covid", "resnet34", seed=seed).path)
    rows = [EpochRow(epoch, 1e-3, 1.0, 0.5, 1.0, 0.5, 100 / train + 10 / infer, train) for epoch in (1, 2)]
    write_records(folder / "history.csv", EpochRow, rows)
    settings = {"precision": "float32", "batch_size": 16, "precise_batch_norm_images": 0}
    values = {"n_train": 100, "n_val": 10, "settings": settings, "device": "cpu", "gpus": 1, "device_name": "Some CPU"}
    write(folder / "training.json", json.dumps({**values, **place}))


def write_profile(study: str = "new", **changes: Any) -> None:
    """Write what profile_backbone measured for `make_study`: 20 images/s in training, 80 in inference."""
    load = {"batch_size": 16, "size_px": 128, "precision": "float32", "device": "cpu", "device_name": "Some CPU"}
    both = {part: {**load, "images_per_s": n, **changes} for part, n in (("training", 20.0), ("inference", 80.0))}
    write(Path(f"results/{study}/backbones/resnet34.json"), json.dumps({"params": 1000, **both}))


def write_record(path: str, rule: str, seconds: float) -> None:
    """Write Snakemake's record of an output."""
    record = {"rule": rule, "starttime": 100.0, "endtime": 100.0 + seconds}
    write(Path(".snakemake/metadata", urlsafe_b64encode(path.encode()).decode()), json.dumps(record))
