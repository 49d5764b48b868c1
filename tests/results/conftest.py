"""Shared by the tests of results."""

from pathlib import Path
from typing import Any

import pytest
import torch

import evaluate
from cxrflow.config.settings import EvaluateSettings, ExplainSettings


@pytest.fixture(autouse=True, scope="session")
def single_thread() -> None:
    """Compute on one core: on a shared machine, threads that wait for another core cost more than they save."""
    torch.set_num_threads(1)


def evaluate_into(out: Path, **given: Any) -> None:
    """Evaluate a toy model by small batches and a gallery of one image a class; `given` are the other arguments."""
    files = {name: out / f"{name}.csv" for name in ("val_predictions", "val_mirrored", "predictions", "mirrored")}
    files |= {f"gradcam_{suffix}": out / f"gradcam.{suffix}" for suffix in ("png", "csv", "json")}
    files["features"] = out / "features.npy"
    settings = {"settings": EvaluateSettings(batch_size=8), "explain": ExplainSettings(images_per_class=1)}
    evaluate.evaluate_model(**{**files, **settings, "device": "cpu", "threads": 1, "title": "Toy", **given})
