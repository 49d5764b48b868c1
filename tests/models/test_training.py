import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import update_bn

from cxrflow.config.settings import TrainSettings
from cxrflow.errors import CxrflowError
from cxrflow.files.records import EpochRow
from cxrflow.models import epochs
from cxrflow.models.augment import adjust_sharpness, autocontrast
from cxrflow.models.batches import SplitImages, join_split
from cxrflow.models.devices import derive_generator, derive_seed
from cxrflow.models.epochs import fit, run_epoch, train_epoch, validate
from cxrflow.models.networks import build_network, to_network_input
from cxrflow.models.optimizing import cosine_warm_restart
from cxrflow.models.training import Training
from tests.models.toy import equal_weights, toy_data, toy_images, toy_labels, toy_rows, toy_training

SHORT = TrainSettings(epochs=3, batch_size=8, learning_rate=0.01, restart_epochs=3)


def train(settings: TrainSettings = SHORT, data: SplitImages | None = None, seed: int = 0) -> Training:
    training = toy_training(settings, data, seed)
    fit(training, None, lambda _row, _is_best: None)
    return training


def test_bright_upper_and_lower_halves_are_learned() -> None:
    training = train(dataclasses.replace(SHORT, epochs=12, restart_epochs=12))
    assert training.history[training.best.epoch - 1].val_macro_f1 > 0.9
    assert training.history[-1].train_macro_f1 > 0.9
    assert training.history[-1].train_loss < training.history[0].train_loss / 2


def test_weights_are_bit_for_bit_those_of_a_plain_loop() -> None:
    """Pins what a training computes: a change here changes every published model."""
    settings = dataclasses.replace(
        SHORT, weight_decay=0.01, restart_epochs=2, sharpness_factor=5.0, batch_norm_momentum=0.5
    )
    labels = toy_labels(42)
    data = join_split(toy_images(labels), toy_rows(labels, 30, 12)[::-1])  # train rows are not the first of the file
    one, plain = train(settings, data, seed=1), train_plainly(settings, data, seed=1)
    assert equal_weights(one.network.state_dict(), plain.state_dict())
    assert [row.learning_rate for row in one.history] == [0.01, cosine_warm_restart(0.01, 1, 2), 0.01]
    inputs = to_network_input(torch.from_numpy(data.images[data.rows["val"]]))
    wanted = torch.nn.functional.cross_entropy(plain.eval()(inputs), one.labels["val"], weight=one.class_weights)
    assert one.history[-1].val_loss == pytest.approx(wanted.item(), rel=1e-6)


def train_plainly(settings: TrainSettings, data: SplitImages, seed: int) -> torch.nn.Module:
    """Train with plain PyTorch, image by image, what is random derived from the same seeds."""
    network = build_network("tiny", 2, settings.batch_norm_momentum, seed)
    optimizer = torch.optim.Adam(network.parameters(), weight_decay=settings.weight_decay, fused=True)
    images, labels = data.images[data.rows["train"]], torch.from_numpy(data.labels_of("train"))
    weights = (len(labels) / (2 * torch.bincount(labels).double())).float()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    for epoch in range(1, settings.epochs + 1):
        order = torch.randperm(len(labels), generator=derive_generator("order", seed, epoch))
        changes = torch.rand((len(labels), 3), generator=derive_generator("augment", seed, epoch)) < 0.5
        torch.manual_seed(derive_seed("epoch", seed, epoch))
        network.train()
        batches = order.split(settings.batch_size)
        for step, batch in enumerate(batches):
            inputs = []
            for place in batch.tolist():
                flip, sharpen, stretch = changes[place].tolist()
                image = torch.from_numpy(images[place].copy())[None, None].float() / 255
                image = image.flip(-1) if flip else image
                image = adjust_sharpness(image, settings.sharpness_factor) if sharpen else image
                image = autocontrast(image) if stretch else image
                inputs.append((image[0] - mean) / std)
            cycle = (epoch - 1 + step / len(batches)) % settings.restart_epochs / settings.restart_epochs
            optimizer.param_groups[0]["lr"] = settings.learning_rate * (1 + math.cos(math.pi * cycle)) / 2
            logits = network(torch.stack(inputs).contiguous(memory_format=torch.channels_last))
            losses = torch.nn.functional.cross_entropy(logits, labels[batch], weight=weights, reduction="sum")
            optimizer.zero_grad()
            (losses / weights[labels[batch]].sum()).backward()
            optimizer.step()
        whole = order[: len(order) - len(order) % settings.batch_size].split(settings.batch_size)
        update_bn([to_network_input(torch.from_numpy(images[batch])) for batch in whole], network)
    return network


def test_val_images_choose_and_do_not_teach() -> None:
    data, blinded = toy_data(), toy_data()
    blinded.images[blinded.rows["val"]] = 255
    one, other = train(data=data), train(data=blinded)
    assert equal_weights(one.network.state_dict(), other.network.state_dict())
    assert [row.val_loss for row in one.history] != [row.val_loss for row in other.history]


def test_kept_epoch_is_the_first_with_the_lowest_validation_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = {1: 0.9, 2: 0.5, 3: 0.7, 4: 0.5, 5: 0.6}
    monkeypatch.setattr(epochs, "validate", lambda _training, epoch: (losses[epoch], 0.0))
    snapshots = {}
    training = toy_training(dataclasses.replace(SHORT, epochs=5))
    reported = []

    def report(row: EpochRow, is_best: bool) -> None:
        snapshots[row.epoch] = {name: value.clone() for name, value in training.network.state_dict().items()}
        reported.append(is_best)

    fit(training, None, report)
    assert (training.best.epoch, training.best.val_loss) == (2, 0.5)
    assert reported == [True, True, False, False, False]
    assert equal_weights(training.best.state_dict, snapshots[2])
    assert not equal_weights(training.best.state_dict, snapshots[4])


def test_kept_weights_have_the_validation_loss_of_their_epoch() -> None:
    training = train(dataclasses.replace(SHORT, epochs=6))
    assert training.best.epoch == 1 + int(np.argmin([row.val_loss for row in training.history]))
    training.network.load_state_dict(training.best.state_dict)
    assert validate(training, 1)[0] == training.best.val_loss == training.history[training.best.epoch - 1].val_loss


def test_class_weights_come_from_the_train_subset_alone() -> None:
    labels = np.array([0] * 8 + [1] * 2 + [1] * 24 + [0])
    data = join_split(toy_images(labels), toy_rows(labels, n_train=10, n_val=25))
    assert toy_training(SHORT, data).class_weights.tolist() == [10 / (2 * 8), 10 / (2 * 2)]


@pytest.mark.parametrize(
    "change",
    [
        {"class_weights": "none"},
        {"class_weights": "effective_number", "effective_number_beta": 0.9},
        {"loss": "focal"},
        {"label_smoothing": 0.1},
    ],
)
def test_every_loss_trains_another_network_and_is_the_validation_loss(change: dict[str, Any]) -> None:
    one, other = train(), train(dataclasses.replace(SHORT, **change))
    assert not equal_weights(one.network.state_dict(), other.network.state_dict())
    losses = []
    for settings in (SHORT, other.settings):
        training = toy_training(settings)
        training.network.load_state_dict(one.network.state_dict())
        losses.append(validate(training, 1)[0])
    assert losses[0] != losses[1]


def test_train_loss_is_the_weighted_mean_over_the_epoch() -> None:
    """Seen through a network whose logits never depend on the image."""
    still = dataclasses.replace(SHORT, learning_rate=0.0, epochs=1)
    training = toy_training(still)
    bias = torch.tensor([0.3, -1.0])
    with torch.no_grad():
        training.network.classifier[1].weight.zero_()
        training.network.classifier[1].bias.copy_(bias)
    row = run_epoch(training, 1)
    for subset, loss in (("train", row.train_loss), ("val", row.val_loss)):
        labels = training.labels[subset]
        wanted = torch.nn.functional.cross_entropy(bias.expand(len(labels), 2), labels, weight=training.class_weights)
        assert loss == pytest.approx(wanted.item(), rel=1e-6)


def test_transferred_layers_learn_at_their_share_of_the_rate_and_new_ones_at_all_of_it() -> None:
    training = toy_training(dataclasses.replace(SHORT, transfer_learning_rate_scale=0.1), new_layers="classifier.1")
    train_epoch(training, 2)
    rates = {id(p): group["lr"] for group in training.optimizer.param_groups for p in group["params"]}
    new = {id(p) for p in training.network.classifier[1].parameters()}
    assert len(rates) == len(list(training.network.parameters()))
    last = cosine_warm_restart(0.01, 1 + 3 / 4, 3)  # the last of four steps
    for name, rate in rates.items():
        assert rate == pytest.approx(last if name in new else 0.1 * last)


def test_frozen_layers_keep_their_weights_and_adapt_their_statistics() -> None:
    training = toy_training(dataclasses.replace(SHORT, transfer_learning_rate_scale=0.0), new_layers="classifier.1")
    before = {name: value.clone() for name, value in training.network.state_dict().items()}
    fit(training, None, lambda _row, _is_best: None)
    changed = {name for name, value in training.network.state_dict().items() if not torch.equal(value, before[name])}
    statistics = {name for name in before if "running" in name or "tracked" in name}
    assert changed == statistics | {"classifier.1.weight", "classifier.1.bias"}
    learning = {name for name, parameter in training.network.named_parameters() if parameter.grad is not None}
    assert learning == {"classifier.1.weight", "classifier.1.bias"}, "others cost no backward pass"


def test_a_last_batch_of_one_image_is_trained_with_the_batch_before() -> None:
    training = train(dataclasses.replace(SHORT, epochs=1), toy_data(n_train=17))  # 8 + 9, not 8 + 8 + 1
    assert math.isfinite(training.history[0].train_loss)


def test_bfloat16_has_an_effect() -> None:
    low = train(dataclasses.replace(SHORT, precision="bfloat16"))
    assert not equal_weights(low.network.state_dict(), train().network.state_dict())


@pytest.mark.parametrize("broken", ["train", "validation"])
def test_a_loss_that_is_not_finite_stops_at_once(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    training = toy_training(SHORT)
    run_epoch(training, 1)
    if broken == "train":
        with torch.no_grad():
            training.network.middle.weight[0, 0] = math.nan
        where = "epoch 2, step 1 of 4"
    else:
        nothing = torch.full((12, 2), math.inf, dtype=torch.float64)
        monkeypatch.setattr(epochs, "predict_logits", lambda *_: nothing)
        where = "the validation of epoch 2"
    with pytest.raises(CxrflowError, match=f"the loss is nan at {where}, learning rate 0.00") as caught:
        run_epoch(training, 2)
    assert "Lower train.learning_rate" in str(caught.value)
    assert len(training.history) == 1


def test_a_class_absent_from_train_stops() -> None:
    labels = np.array([0] * 10 + [1] * 10)
    data = join_split(toy_images(labels), toy_rows(labels, n_train=10, n_val=10))
    with pytest.raises(CxrflowError, match="the train subset has no image of light"):
        toy_training(SHORT, data)
