"""The epochs of a training: steps of the optimizer, warm restarts, weighted loss; which epoch is kept.

Reads train and val images through memory-mapped images.npy; writes nothing itself: checkpoints go through a store.
Interrupted at an epoch's end and resumed, it gives the same bits as uninterrupted: everything random comes from (seed,
epoch), see `derive_seed`.
"""

import math
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cxrflow.files.records import EpochRow
from cxrflow.models.augment import Changes, augment, sample_changes
from cxrflow.models.batches import cut_batches, epoch_order
from cxrflow.models.devices import derive_seed
from cxrflow.models.inference import predict_logits
from cxrflow.models.losses import decide, sum_losses
from cxrflow.models.networks import estimate_batch_norm, normalize_gray, to_network_input
from cxrflow.models.optimizing import learning_rate_at
from cxrflow.models.ranks import LEAST_ROWS
from cxrflow.models.resume import CheckpointStore, Deadline
from cxrflow.models.training import BestEpoch, CannotTrainError, Training

# Reading the loss makes a GPU finish all that is queued; a CPU has nothing queued.
STEPS_BETWEEN_CHECKS = {"cuda": 20, "cpu": 1}


def fit(
    training: Training,
    store: CheckpointStore | None,
    on_epoch: Callable[[EpochRow, bool], None],
    deadline: Deadline | None = None,
    last_epoch: int | None = None,
) -> None:
    """Train until all epochs are done, from the store's last checkpoint if it has one.

    training: afterwards it holds the best epoch and the history; store: only the rank that leads has one, and shares
    its state; on_epoch: called with each epoch's row, restored ones too, and whether it is the best so far; last_epoch:
    stop after it, with its checkpoint saved, to go on from there another time.

    Raises:
        CxrflowError: the loss is not finite, or the next epoch would end after the deadline; then all epochs so far are
            in the store.
    """
    state = training.ranks.share(store.load(last_epoch) if store else None)
    if state is not None:
        training.restore(state)
        kept = 0
        for row in training.history:
            if is_best := is_better(training, row, kept):
                kept = row.epoch
            on_epoch(row, is_best)
    n_restored = len(training.history)
    for epoch in range(n_restored + 1, (last_epoch or training.settings.epochs) + 1):
        own_s = [row.seconds for row in training.history[n_restored:]]  # another attempt's node may have been slower
        if deadline and training.ranks.share(not deadline.allows(own_s)):
            if store:
                store.save(epoch - 1, training.state, at_any_cost=True)
            # shared, so that nobody leaves before it is saved: the first process that ends has all others ended
            raise training.ranks.share(deadline.leave(epoch - 1, training.settings.epochs))
        row = run_epoch(training, epoch)
        on_epoch(row, training.best.epoch == epoch)
        if store:
            store.save(epoch, training.state, at_any_cost=epoch == last_epoch)


def run_epoch(training: Training, epoch: int) -> EpochRow:
    """Train for one epoch, validate, and keep the weights if this epoch is the best so far (`train.kept_epoch`)."""
    start_s = time.perf_counter()
    train_loss, train_f1 = train_epoch(training, epoch)
    trained_s = time.perf_counter()
    refresh_batch_norm(training, epoch)
    val_loss, val_f1 = validate(training, epoch)
    row = EpochRow(
        epoch=epoch,
        learning_rate=learning_rate_at(training.settings, epoch, 0.0),
        train_loss=train_loss,
        train_macro_f1=train_f1,
        val_loss=val_loss,
        val_macro_f1=val_f1,
        seconds=time.perf_counter() - start_s,
        images_per_s=len(training.labels["train"]) / (trained_s - start_s),
    )
    is_best = is_better(training, row, training.best.epoch)
    training.history.append(row)
    if is_best:
        weights = {
            name: value.detach().to("cpu", copy=True) for name, value in training.kept_network.state_dict().items()
        }
        training.best = BestEpoch(epoch, val_loss, weights)
    return row


def is_better(training: Training, row: EpochRow, kept: int) -> bool:
    """Return whether an epoch is kept instead of the one that is so far, from 1; 0: there is none."""
    rule, best = training.settings.kept_epoch, training.history[kept - 1] if kept else row
    improves = {
        "val_loss": row.val_loss < best.val_loss,
        "val_macro_f1": row.val_macro_f1 > best.val_macro_f1,
        "last": True,
    }
    return kept == 0 or improves[rule]


def train_epoch(training: Training, epoch: int) -> tuple[float, float]:
    """Take one pass over the train subset; return its weighted loss and macro F1, in training mode."""
    # dropout and stochastic depth, other ones on each rank
    torch.manual_seed(derive_seed("epoch", training.seed, epoch) + training.ranks.rank)
    training.parallel.train()
    settings, n_images = training.settings, len(training.labels["train"])
    order = epoch_order(n_images, training.seed, epoch)
    changes = sample_changes(n_images, settings, training.seed, epoch)
    batches = cut_batches(n_images, settings.batch_size, LEAST_ROWS * training.ranks.count)
    sums = torch.zeros(2, dtype=torch.float64, device=training.device)  # of the loss and of the weights
    predicted = torch.zeros_like(training.labels["train"])  # in the order of the epoch
    for step, part in enumerate(batches):
        learning_rate = learning_rate_at(settings, epoch, step / len(batches))
        own = training.ranks.own_part(part)
        loss_and_weight, classes = train_step(training, order[own], changes.of(order[own]), learning_rate)
        sums += loss_and_weight
        predicted[own] = classes
        if (step + 1) % STEPS_BETWEEN_CHECKS[training.device.type] == 0 or step + 1 == len(batches):
            _check_finite(float(sums[0]), f"epoch {epoch}, step {step + 1} of {len(batches)}", learning_rate)
    labels = training.labels["train"].cpu()[order].numpy()
    loss_sum, weight_sum = sums.tolist()
    return loss_sum / weight_sum, macro_f1(labels, training.ranks.total(predicted).cpu().numpy(), training.n_classes)


def train_step(training: Training, places: Tensor, changes: Changes, learning_rate: float) -> tuple[Tensor, Tensor]:
    """Take one step of the optimizer; nothing here waits for a GPU.

    places: int64 (b,), this rank's images of the batch, by their place in the train subset.
    Returns float32 (2,), sum of the weighted losses and of the weights over the batch, and int64 (b,) or
    (b, n_classes), predicted labels; both on the device.
    """
    settings = training.settings
    labels = training.labels["train"][places.to(training.device, non_blocking=True)]
    with torch.inference_mode():  # nothing is recorded of slices and views: a tenth less time
        images = augment(training.sources["train"].gather(places), changes, settings.sharpness_factor)
    for group in training.optimizer.param_groups:
        group["lr"] = learning_rate * group["scale"]
    inputs = normalize_gray(images)
    training.optimizer.zero_grad(set_to_none=True)  # before the forward pass, which does not need the last gradients
    with torch.autocast(training.device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
        logits = training.parallel(inputs)
    loss_sum, weight_sum = sum_losses(logits.float(), labels, training.class_weights, settings)
    sums = training.ranks.total(torch.stack([loss_sum.detach(), weight_sum]))
    # gradients are averaged over the ranks: by a weight as much smaller, their mean is the sum over the batch
    (loss_sum / (sums[1] / training.ranks.count)).backward()  # type: ignore[no-untyped-call]
    training.optimizer.step()
    if training.average:
        training.average.update(training.network)
    return sums, decide(logits.detach(), labels)


def refresh_batch_norm(training: Training, epoch: int) -> None:
    """Estimate BatchNorm's statistics from whole batches of this epoch's first train images, not augmented.

    Batches are mixed as in training. Ranks share each of them; without SyncBatchNorm, on the CPU, the first rank's
    statistics become everyone's (`Ranks.align`).
    """
    batch_size, n_train = training.settings.batch_size, len(training.labels["train"])
    n_images = min(training.settings.precise_batch_norm_images, n_train)
    if n_images == 0:
        return
    order = epoch_order(n_train, training.seed, epoch)
    parts = cut_batches(max(n_images - n_images % batch_size, min(n_images, batch_size)), batch_size)
    own = (order[training.ranks.own_part(part)] for part in parts)
    source = training.sources["train"]
    estimate_batch_norm(training.kept_network, (to_network_input(source.gather(places)) for places in own))


def validate(training: Training, epoch: int) -> tuple[float, float]:
    """Return the weighted loss over the whole val subset, and its macro F1, in eval mode and float32."""
    labels = training.labels["val"].cpu()
    source, batch_size = training.sources["val"], training.settings.batch_size
    logits = predict_logits(training.kept_network, source, len(labels), batch_size, training.ranks)
    loss_sum, weight_sum = sum_losses(logits, labels, training.class_weights.double().cpu(), training.settings)
    loss = float(loss_sum / weight_sum)
    _check_finite(loss, f"the validation of epoch {epoch}", learning_rate_at(training.settings, epoch, 0.0))
    return loss, macro_f1(labels.numpy(), decide(logits, labels).numpy(), training.n_classes)


def macro_f1(labels: NDArray[np.int64], predicted: NDArray[np.int64], n_classes: int) -> float:
    """Return the mean F1 of the classes, 0-1; a class that neither occurs nor is predicted does not count.

    As defined in metrics.json, but without its intervals and the modules that make them: a new metric there must not
    retrain a model. labels, predicted: int64 (n,), or of several findings int64 (n, n_classes), 0 or 1; 0 where no
    finding occurs or is predicted.
    """
    if labels.ndim == 1:
        labels, predicted = (np.eye(n_classes, dtype=np.int64)[each] for each in (labels, predicted))
    denominators = labels.sum(axis=0) + predicted.sum(axis=0)
    seen = denominators > 0
    return float((2 * (labels & predicted).sum(axis=0)[seen] / denominators[seen]).mean()) if seen.any() else 0.0


def _check_finite(loss: float, where: str, learning_rate: float) -> None:
    if not math.isfinite(loss):
        raise CannotTrainError(
            f"the loss is {loss} at {where}, learning rate {learning_rate:.3g}: the training has diverged. "
            "Lower train.learning_rate tenfold, and with bfloat16 try train.precision: float32"
        )
