"""Result folders made by hand, and what a plan knows of them."""

import json
from pathlib import Path
from typing import Any

from cxrflow.config.identity import ModelId
from cxrflow.config.study import Study, load_study
from cxrflow.files.records import EpochRow
from cxrflow.files.tables import write_records
from cxrflow.operate.dry_run import Job

CONFIG: dict[str, Any] = {
    "study": "new",
    "datasets": {"covid": {"reader": "covid_radiography", "folder": "covid"}},
    "backbones": ["resnet34"],
    "index": {"max_images_per_class": 100},
    "preprocess": {"size_px": 128, "blur_px": 0},
    "train": {"epochs": 4},
    "compute": {"device": "cpu"},
}


def make_study(**changes: Any) -> Study:
    """Return a study of one model, three classes of at most 100 images: 210 to train, 45 to validate, 45 to test."""
    return load_study({**CONFIG, **changes})


def write_training(
    results: Path,
    *,
    train_s: float = 0.1,
    val_s: float = 0.02,
    size_px: int = 64,
    startup_s: float = 5.0,
    seed: int = 0,
    gpus: int = 1,
) -> Path:
    """Write a training of ResNet-34 with 100 train and 10 val images over two epochs; return its folder."""
    model = ModelId("covid", "resnet34", seed=seed)
    folder = results / "models" / model.path
    (results / "data" / "covid" / f"{size_px}px-equalized").mkdir(parents=True, exist_ok=True)
    epoch_s = 100 * train_s + 10 * val_s
    rows = [EpochRow(epoch, 1e-3, 1.0, 0.5, 1.0, 0.5, epoch_s, 1 / train_s) for epoch in (1, 2)]
    write_records(folder / "history.csv", EpochRow, rows)
    settings = {"precision": "float32"}
    values = {"n_train": 100, "n_val": 10, "settings": settings, "device": "cpu", "threads": 1, "gpus": gpus}
    (folder / "training.json").write_text(json.dumps({**values, "device_name": "Some CPU", "host": "node1"}))
    write_benchmark(folder / "train.tsv", 2 * epoch_s + startup_s)
    return folder


def write_index(results: Path, reader: str, counts: dict[str, int], seconds: float) -> None:
    """Write index.json and index.tsv of the dataset covid."""
    folder = results / "data" / "covid"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.json").write_text(json.dumps({"reader": reader, "counts": counts}))
    write_benchmark(folder / "index.tsv", seconds)


def write_benchmark(path: Path, seconds: float | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:01\t62.84\n")


def train_job(jobid: int = 1, seed: int = 0, **changes: Any) -> Job:
    model = {"dataset": "covid", "backbone": "resnet34", "init": "scratch", "variant": "base", "seed": str(seed)}
    values = {"inputs": ("images.npy",), "outputs": (f"model{seed}.pt",), "rule": "train", "wildcards": model}
    return Job(jobid, **{**values, **changes})
