"""What a finished training or evaluation hands on: model.pt, training.json, predictions.csv."""

import dataclasses
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray

from cxrflow.config.identity import ModelId
from cxrflow.config.settings import PreprocessSettings, settings_dict
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import read_json
from cxrflow.files.records import Predictions
from cxrflow.models.checkpoints import SavedModel, load_model
from cxrflow.models.devices import describe_device
from cxrflow.models.subsets import SplitImages
from cxrflow.models.training import Training, weigh_classes


def saved_model(
    training: Training, identity: ModelId, class_names: list[str], preprocess: PreprocessSettings
) -> SavedModel:
    """Return the kept epoch of a training with what its user must know."""
    return SavedModel(
        state_dict=training.best.state_dict,
        **dataclasses.asdict(identity),
        class_names=class_names,
        preprocess=preprocess,
        epoch=training.best.epoch,
        val_loss=training.best.val_loss,
        batch_norm_momentum=training.settings.batch_norm_momentum,
    )


def is_finished(summary: Path, model: Path, key: str) -> bool:
    """Say whether this very training has been finished: by an orphan of a killed scheduler, as a rule.

    Args:
        summary: its training.json.
        model: its model.pt, written last.
        key: what the training depends on, from `CheckpointStore.key`.
    """
    if not (summary.is_file() and model.is_file()) or read_json(summary).get("key") != key:
        return False
    try:
        load_model(model)
    except CxrflowError as error:
        print(f"note: {error}. Training again")
        return False
    return True


def summarize_training(
    training: Training, identity: ModelId, data: SplitImages, threads: int, key: str
) -> dict[str, Any]:
    """Return training.json: which model, on what, how long, with which versions.

    `total_seconds` adds up the epochs: of all runs, where a training was interrupted. `key` stands for all that the
    training depends on.
    """
    return {
        **dataclasses.asdict(identity),
        "key": key,
        "class_names": data.class_names,
        "n_train": len(data.rows["train"]),
        "n_val": len(data.rows["val"]),
        "class_weights": weigh_classes(data, training.settings),
        "epoch_kept": training.best.epoch,
        "val_loss": training.best.val_loss,
        "epochs": len(training.history),
        "settings": settings_dict(training.settings),
        "device": training.device.type,
        "device_name": describe_device(training.device, training.ranks.count),
        "host": platform.node(),
        "threads": threads,
        "gpus": training.ranks.count,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
        },
        "total_seconds": sum(row.seconds for row in training.history),
    }


def check_classes(saved: SavedModel, data: SplitImages, path: Path) -> None:
    """Check that a model and a split have the same classes, and that no opened subset is empty.

    Raises:
        CxrflowError: they do not, or one is.
    """
    if saved.class_names != data.class_names:
        raise CxrflowError(
            f"{path} knows the classes {', '.join(saved.class_names)}, and the split has "
            f"{', '.join(data.class_names)}: they belong to different datasets; train again on this split"
        )
    for subset, rows in data.rows.items():
        if len(rows) == 0:
            raise CxrflowError(f"the {subset} subset is empty: give it a larger share in the split settings")


def join_predictions(data: SplitImages, subset: str, probabilities: NDArray[np.float64]) -> Predictions:
    """Return the predictions of an opened subset.

    Args:
        data: the dataset.
        subset: which of its subsets.
        probabilities: float64 (n, n_classes), in index order.
    """
    rows = data.rows[subset]
    return Predictions(
        image_ids=[data.image_ids[i] for i in rows],
        patient_ids=[data.patient_ids[i] for i in rows],
        labels=data.labels_of(subset),
        probabilities=probabilities,
        class_names=data.class_names,
    )
