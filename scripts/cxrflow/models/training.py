"""A training: what it starts with, what moves on with every epoch, and what it hands on: model.pt and training.json.

The epochs themselves are in epochs.py.
"""

import dataclasses
import math
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cxrflow.config.findings import list_unfit
from cxrflow.config.layout import SCRATCH, ModelId
from cxrflow.config.parsing import settings_dict
from cxrflow.config.settings import PreprocessSettings, TrainSettings
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import read_json
from cxrflow.files.records import EpochRow
from cxrflow.models.batches import ImageSource, SplitImages, open_source
from cxrflow.models.checkpoints import SavedModel, load_init, load_model, set_aside
from cxrflow.models.devices import describe_device
from cxrflow.models.losses import weigh_classes
from cxrflow.models.networks import build_network, find_head, fit_to_size, list_versions
from cxrflow.models.optimizing import WeightAverage, build_optimizer, group_parameters
from cxrflow.models.ranks import ALONE, LEAST_ROWS, Ranks


class CannotTrainError(CxrflowError):
    """The settings are at fault, not the data or the machine: of a search, one trial has failed, and no job."""


@dataclass(frozen=True)
class BestEpoch:
    """The epoch that is kept so far (`train.kept_epoch`), the first of equals."""

    epoch: int = 0  # from 1; 0 before the first
    val_loss: float = math.inf
    state_dict: dict[str, Tensor] = field(default_factory=dict)  # the network's after it, on the CPU


@dataclass
class Training:
    """A training: what stays the same, and what moves on with every epoch."""

    network: nn.Module  # on the device; it takes the steps
    parallel: nn.Module  # called in training: the network, or on several ranks the wrapper that joins them
    optimizer: torch.optim.Optimizer
    settings: TrainSettings
    seed: int
    sources: dict[str, ImageSource]  # of train and val
    labels: dict[str, Tensor]  # of train and val, int64 (n,) or (n, n_classes), on the device
    class_weights: Tensor  # float32 (n_classes,), on the device; all 1 where the settings switch them off
    average: WeightAverage | None = None  # of the network's weights over the steps
    ranks: Ranks = ALONE
    is_probe: bool = False  # only the head is to be fitted, as `probing.fit_head` does
    best: BestEpoch = field(default_factory=BestEpoch)
    history: list[EpochRow] = field(default_factory=list)  # one row per finished epoch

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.class_weights.device

    @property
    def n_classes(self) -> int:
        """Outputs of the network."""
        return len(self.class_weights)

    @property
    def kept_network(self) -> nn.Module:
        """The network that is validated and kept."""
        return self.average.network if self.average else self.network

    def state(self) -> dict[str, Any]:
        """Return all that moves on, as plain values and tensors for a checkpoint."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state() if self.average else {},
            "best": vars(self.best),
            "history": [dataclasses.asdict(row) for row in self.history],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average:
            self.average.restore(state["average"])
        self.best = BestEpoch(**state["best"])
        self.history = [EpochRow(**row) for row in state["history"]]


def open_training(
    identity: ModelId,
    data: SplitImages,
    settings: TrainSettings,
    init_weights: Path | None,
    device: torch.device,
    ranks: Ranks = ALONE,
) -> Training:
    """Build a model's network from what it starts from, and start its training.

    Raises:
        CxrflowError: the weights do not fit, or the train or val subset cannot be used.
    """
    network = build_network(identity.backbone, len(data.class_names), settings.batch_norm_momentum, identity.seed)
    is_probe = load_init(network, identity.backbone, identity.init, init_weights)
    if is_probe and data.has_findings:
        raise CannotTrainError(f"{identity.init} asks for a probe, which is fitted to one class per image: train all")
    fit_to_size(network, identity.backbone, data.images.shape[-1])
    new_layers = "" if identity.init == SCRATCH else find_head(network, identity.backbone)
    training = start_training(
        network, data, settings, seed=identity.seed, device=device, ranks=ranks, new_layers=new_layers
    )
    training.is_probe = is_probe
    return training


def start_training(
    network: nn.Module,
    data: SplitImages,
    settings: TrainSettings,
    *,
    seed: int,
    device: torch.device,
    ranks: Ranks = ALONE,
    new_layers: str = "",
) -> Training:
    """Move a network to the device and get its optimizer, its data and its class weights ready; each rank has all data.

    new_layers: dotted path of the layers that start from random weights; empty: all of them.

    Raises:
        CxrflowError: the train or val subset cannot be used.
    """
    check_subsets(data, settings, ranks)
    network = network.to(device)
    groups = group_parameters(network, new_layers, settings.transfer_learning_rate_scale)
    return Training(
        network=network,
        parallel=ranks.wrap(network),
        optimizer=build_optimizer(groups, settings),
        settings=settings,
        seed=seed,
        sources={subset: open_source(data.images, data.rows[subset], device) for subset in ("train", "val")},
        labels={subset: torch.from_numpy(data.labels_of(subset)).to(device) for subset in ("train", "val")},
        class_weights=torch.tensor(
            [*weigh_classes(data.counts("train"), settings).values()], dtype=torch.float32, device=device
        ),
        average=WeightAverage(network, settings.average_decay) if settings.average_decay else None,
        ranks=ranks,
    )


def check_subsets(data: SplitImages, settings: TrainSettings, ranks: Ranks = ALONE) -> None:
    """Check that there is something to train and to validate on, for every rank.

    Raises:
        CxrflowError: a class has no train image, a subset is too small, a batch cannot be divided among the ranks, or
            the settings are for one class per image and the images have several findings.
    """
    if data.has_findings and (unfit := list_unfit(settings)):
        raise CannotTrainError(f"an image may have several findings here: {'; '.join(unfit)}")
    absent = [name for name, count in data.counts("train").items() if count == 0]
    if absent:
        raise CxrflowError(
            f"the train subset has no image of {', '.join(absent)}: nothing can be learned about it. "
            "Give the class more patients, leave it out, or choose another split.seed"
        )
    least = LEAST_ROWS * ranks.count
    if len(data.rows["train"]) < least or len(data.rows["val"]) < ranks.count:
        raise CxrflowError(
            f"the split has {len(data.rows['train'])} train and {len(data.rows['val'])} val images; "
            f"at least {least} and {ranks.count} are needed: index more images, or give the subset a larger share"
        )
    if settings.batch_size < least:
        raise CannotTrainError(
            f"train.batch_size is {settings.batch_size}, and {ranks.count} processes need {LEAST_ROWS} images each: "
            f"set train.batch_size to {least} or more, or compute.gpus to less"
        )


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
        has_findings=training.labels["train"].ndim == 2,
    )


def is_finished(record: Path, model: Path, key: str) -> bool:
    """Return whether exactly this training is finished, usually by a job that outlived a killed scheduler.

    record: its training.json, with the `CheckpointStore.key` of what it depends on; model: its model.pt, written last.
    """
    if not (record.is_file() and model.is_file()) or read_json(record).get("key") != key:
        return False
    try:
        load_model(model)
    except CxrflowError as error:
        print(f"note: {error}. It is now {set_aside(model).name}; training again")
        return False
    return True


def describe_training(
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
        "class_weights": weigh_classes(data.counts("train"), training.settings),
        "epoch_kept": training.best.epoch,
        "val_loss": training.best.val_loss,
        "epochs": len(training.history),
        "settings": settings_dict(training.settings),
        "device": training.device.type,
        "device_name": describe_device(training.device, training.ranks.count),
        "host": platform.node(),
        "threads": threads,
        "gpus": training.ranks.count,
        "versions": {"python": platform.python_version(), **list_versions(identity.backbone)},
        "total_seconds": sum(row.seconds for row in training.history),
    }
