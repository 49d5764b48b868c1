"""The training loop: Adam, cosine warm restarts, weighted cross entropy; the lowest validation loss is kept.

Reads train and val images through memory-mapped images.npy; writes nothing itself: checkpoints go through a store.
Interrupted at an epoch's end and resumed, it gives the same bits as uninterrupted: all that is drawn is drawn from
(seed, epoch), see seeding.py.
"""

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cxrflow.config.settings import TrainSettings
from cxrflow.errors import CxrflowError
from cxrflow.files.records import EpochRow
from cxrflow.models.augment import Draws, augment, draw_augmentation
from cxrflow.models.batches import ImageSource, cut_batches, epoch_order, open_source
from cxrflow.models.deadline import Deadline
from cxrflow.models.inference import predict_logits
from cxrflow.models.losses import balance_classes, macro_f1, weighted_cross_entropy
from cxrflow.models.networks import normalize_gray
from cxrflow.models.progress import ProgressBar
from cxrflow.models.ranks import ALONE, Ranks
from cxrflow.models.recording import StepRecording, can_record
from cxrflow.models.resume import CheckpointStore
from cxrflow.models.schedule import cosine_warm_restart
from cxrflow.models.seeding import derive_seed
from cxrflow.models.subsets import SplitImages

# Looking at the loss makes a GPU finish all that is queued; a CPU has nothing queued.
STEPS_BETWEEN_CHECKS = {"cuda": 20, "cpu": 1}


@dataclass(frozen=True)
class BestEpoch:
    """The epoch with the lowest validation loss so far, the first of equals.

    Attributes:
        epoch: from 1; 0 before the first.
        val_loss: its loss.
        state_dict: the network's after it, on the CPU.
    """

    epoch: int = 0
    val_loss: float = math.inf
    state_dict: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class Training:
    """A training: what stays the same, and what moves on with every epoch.

    Attributes:
        network: on the device.
        optimizer: of the network.
        settings: of the training.
        seed: the model's.
        sources, labels: images on call, and int64 (n,) on the device; for train and val.
        class_weights: float32 (n_classes,), on the device; all 1 where the settings switch them off.
        ranks: the processes that train together.
        recording: of the step as a CUDA graph; None where it is not recorded.
        best: the epoch to keep, so far.
        history: one row per finished epoch.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    settings: TrainSettings
    seed: int
    sources: dict[str, ImageSource]
    labels: dict[str, Tensor]
    class_weights: Tensor
    ranks: Ranks = ALONE
    recording: StepRecording | None = None
    best: BestEpoch = field(default_factory=BestEpoch)
    history: list[EpochRow] = field(default_factory=list)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.class_weights.device

    @property
    def n_classes(self) -> int:
        """Outputs of the network."""
        return len(self.class_weights)

    def state(self) -> dict[str, Any]:
        """Return all that moves on, as plain values and tensors for a checkpoint."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": {"epoch": self.best.epoch, "val_loss": self.best.val_loss, "state_dict": self.best.state_dict},
            "history": [dataclasses.asdict(row) for row in self.history],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best = BestEpoch(**state["best"])
        self.history = [EpochRow(**row) for row in state["history"]]


def start_training(
    network: nn.Module,
    data: SplitImages,
    settings: TrainSettings,
    *,
    seed: int,
    device: torch.device,
    ranks: Ranks = ALONE,
) -> Training:
    """Move a network to the device and get its optimizer, its data and its class weights ready.

    Args:
        network: with its initial weights.
        data: the dataset; its test rows are not touched.
        settings: of the training.
        seed: the model's.
        device: that computes.
        ranks: the processes that train together; each holds all data.

    Raises:
        CxrflowError: the train or val subset cannot be used.
    """
    check_subsets(data)
    network = network.to(device)
    ranks.prepare(network)
    optimizer = make_optimizer(network, settings)
    return Training(
        network=network,
        optimizer=optimizer,
        settings=settings,
        seed=seed,
        sources={subset: open_source(data.images, data.rows[subset], device) for subset in ("train", "val")},
        labels={subset: torch.from_numpy(data.labels_of(subset)).to(device) for subset in ("train", "val")},
        class_weights=torch.tensor([*weigh_classes(data, settings).values()], dtype=torch.float32, device=device),
        ranks=ranks,
        recording=StepRecording(network, optimizer)
        if settings.cuda_graphs and can_record(device, ranks.count)
        else None,
    )


def make_optimizer(network: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """Return Adam for all weights of a network.

    Fused: one pass over each weight instead of ten; saves 2/3 of the optimizer's time on a CPU too.
    """
    return torch.optim.Adam(
        network.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
        capturable=settings.cuda_graphs,
    )


def check_subsets(data: SplitImages) -> None:
    """Check that there is something to train and to validate on.

    Raises:
        CxrflowError: a class has no train image, or a subset is too small.
    """
    absent = [name for name, count in data.counts("train").items() if count == 0]
    if absent:
        raise CxrflowError(
            f"the train subset has no image of {', '.join(absent)}: nothing can be learned about it. "
            "Give the class more patients, leave it out, or choose another split.seed"
        )
    if len(data.rows["train"]) < 2 or len(data.rows["val"]) < 1:
        raise CxrflowError(
            f"the split has {len(data.rows['train'])} train and {len(data.rows['val'])} val images; "
            "at least 2 and 1 are needed: index more images, or give the subset a larger share"
        )


def weigh_classes(data: SplitImages, settings: TrainSettings) -> dict[str, float]:
    """Return each class's weight in the loss, from the train subset alone; all 1 where they are switched off."""
    if not settings.class_weights:
        return dict.fromkeys(data.class_names, 1.0)
    weights = balance_classes(data.labels_of("train"), len(data.class_names))
    return dict(zip(data.class_names, weights.tolist(), strict=True))


def fit(
    training: Training,
    store: CheckpointStore | None,
    report: Callable[[EpochRow, bool], None],
    deadline: Deadline | None = None,
) -> None:
    """Train until all epochs are done, from the store's last checkpoint if it has one.

    Args:
        training: from `start_training`; afterwards it holds the best epoch and the history.
        store: where checkpoints are kept; None: nowhere, and for every rank but the first, which shares its state.
        report: called with each epoch's row, and whether it is the best so far; for restored rows too.
        deadline: by which the process must have ended; None: there is none.

    Raises:
        CxrflowError: the loss is not finite, the store's checkpoint belongs to another training, or the next epoch
            would end after the deadline; then all epochs so far are in the store.
    """
    state = training.ranks.share(store.load() if store else None)
    if state is not None:
        training.restore(state)
        lowest = np.minimum.accumulate([row.val_loss for row in training.history])
        for i, row in enumerate(training.history):
            report(row, i == 0 or row.val_loss < lowest[i - 1])
    n_restored = len(training.history)
    for epoch in range(n_restored + 1, training.settings.epochs + 1):
        own_s = [row.seconds for row in training.history[n_restored:]]  # another attempt's node may have been slower
        if deadline and training.ranks.share(not deadline.allows(own_s)):
            if store:
                store.save(epoch - 1, training.state, at_any_cost=True)
            # shared, so that nobody leaves before it is saved: the first process that ends has all others ended
            raise training.ranks.share(deadline.leave(epoch - 1, training.settings.epochs))
        row = run_epoch(training, epoch)
        report(row, training.best.epoch == epoch)
        if store:
            store.save(epoch, training.state)


def run_epoch(training: Training, epoch: int) -> EpochRow:
    """Train for one epoch, validate, and keep the weights if the validation loss is the lowest so far."""
    start_s = time.perf_counter()
    train_loss, train_f1 = train_epoch(training, epoch)
    trained_s = time.perf_counter()
    val_loss, val_f1 = validate(training, epoch)
    row = EpochRow(
        epoch=epoch,
        learning_rate=_learning_rate(training.settings, epoch, 0.0),
        train_loss=train_loss,
        train_macro_f1=train_f1,
        val_loss=val_loss,
        val_macro_f1=val_f1,
        seconds=time.perf_counter() - start_s,
        images_per_s=len(training.labels["train"]) / (trained_s - start_s),
    )
    training.history.append(row)
    if val_loss < training.best.val_loss:
        weights = {name: value.detach().to("cpu", copy=True) for name, value in training.network.state_dict().items()}
        training.best = BestEpoch(epoch, val_loss, weights)
    return row


def train_epoch(training: Training, epoch: int) -> tuple[float, float]:
    """Take one pass over the train subset; return its weighted loss and macro F1, in training mode."""
    torch.manual_seed(derive_seed("epoch", training.seed, epoch))  # dropout and stochastic depth
    training.network.train()
    settings, n_images = training.settings, len(training.labels["train"])
    order = epoch_order(n_images, training.seed, epoch)
    draws = draw_augmentation(n_images, settings, training.seed, epoch)
    batches = cut_batches(n_images, settings.batch_size)
    sums = torch.zeros(2, dtype=torch.float64, device=training.device)  # of the loss and of the weights
    predicted = torch.zeros(n_images, dtype=torch.int64, device=training.device)  # in the order of the epoch
    with ProgressBar(f"epoch {epoch}", len(batches)) as bar:
        for step, part in enumerate(batches):
            learning_rate = _learning_rate(settings, epoch, step / len(batches))
            own = training.ranks.open_batch(part)
            loss_and_weight, classes = train_step(training, order[own], draws.of(order[own]), learning_rate)
            sums += loss_and_weight
            predicted[own] = classes
            if (step + 1) % STEPS_BETWEEN_CHECKS[training.device.type] == 0 or step + 1 == len(batches):
                _check_finite(float(sums[0]), f"epoch {epoch}, step {step + 1} of {len(batches)}", learning_rate)
            bar.advance()
    labels = training.labels["train"].cpu()[order].numpy()
    loss_sum, weight_sum = sums.tolist()
    return loss_sum / weight_sum, macro_f1(labels, training.ranks.total(predicted).cpu().numpy(), training.n_classes)


def train_step(training: Training, places: Tensor, draws: Draws, learning_rate: float) -> tuple[Tensor, Tensor]:
    """Take one optimizer step.

    Args:
        training: the training.
        places: int64 (b,), this rank's images of the batch, by their place in the train subset.
        draws: their augmentation.
        learning_rate: of this step.

    Returns:
        float32 (2,), sum of the weighted losses and of the weights over the batch; int64 (b,), predicted classes; both
        on the device.
    """
    settings = training.settings
    labels = training.labels["train"][places.to(training.device, non_blocking=True)]
    with torch.inference_mode():  # nothing is recorded of slices and views: a tenth less time
        images = augment(training.sources["train"].gather(places), draws, settings.sharpness_factor)
    for group in training.optimizer.param_groups:
        group["lr"] = learning_rate
    learn, inputs = partial(learn_batch, training), normalize_gray(images)
    if training.recording and len(places) == settings.batch_size:
        return training.recording.run(learn, inputs, labels, learning_rate)
    return learn(inputs, labels)


def learn_batch(training: Training, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Pass a batch forward and backward and step the optimizer; nothing here waits for a GPU or copies to it.

    Args:
        training: the training.
        inputs: float32 (b, 3, H, W), on the device.
        labels: int64 (b,), on the device.

    Returns:
        As `train_step`.
    """
    training.optimizer.zero_grad(set_to_none=True)  # first: in the forward pass nobody needs the last gradients
    with torch.autocast(training.device.type, torch.bfloat16, enabled=training.settings.precision == "bfloat16"):
        logits = training.ranks.forward(training.network, inputs)
    loss_sum, weight_sum = weighted_cross_entropy(logits.float(), labels, training.class_weights)
    sums = training.ranks.total(torch.stack([loss_sum.detach(), weight_sum]))
    # gradients are averaged over the ranks: by a weight as much smaller, their mean is the sum over the batch
    (loss_sum / (sums[1] / training.ranks.count)).backward()  # type: ignore[no-untyped-call]
    training.optimizer.step()
    return sums, logits.detach().argmax(dim=1)


def validate(training: Training, epoch: int) -> tuple[float, float]:
    """Return the weighted loss over the whole val subset, and its macro F1, in eval mode and float32."""
    labels = training.labels["val"].cpu()
    source, batch_size = training.sources["val"], training.settings.batch_size
    logits = predict_logits(training.network, source, len(labels), batch_size, training.ranks)
    loss_sum, weight_sum = weighted_cross_entropy(logits, labels, training.class_weights.double().cpu())
    loss = float(loss_sum / weight_sum)
    _check_finite(loss, f"the validation of epoch {epoch}", _learning_rate(training.settings, epoch, 0.0))
    return loss, macro_f1(labels.numpy(), logits.argmax(dim=1).numpy(), training.n_classes)


def _learning_rate(settings: TrainSettings, epoch: int, share_done: float) -> float:
    return cosine_warm_restart(settings.learning_rate, epoch - 1 + share_done, settings.restart_epochs)


def _check_finite(loss: float, where: str, learning_rate: float) -> None:
    if not math.isfinite(loss):
        raise CxrflowError(
            f"the loss is {loss} at {where}, learning rate {learning_rate:.3g}: the training has diverged. "
            "Lower train.learning_rate tenfold, and with bfloat16 try train.precision: float32"
        )
