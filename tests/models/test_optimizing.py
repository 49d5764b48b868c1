"""Optimizers, the learning rate and the average of the weights, each against torch's own."""

import copy
import dataclasses

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cxrflow.config.settings import TrainSettings
from cxrflow.models.epochs import refresh_batch_norm, run_epoch, train_epoch, validate
from cxrflow.models.optimizing import OPTIMIZERS, WeightAverage, build_optimizer, cosine_warm_restart, learning_rate_at
from tests.models.toy import equal_weights, toy_training

SHORT = TrainSettings(epochs=3, batch_size=8, learning_rate=0.01, restart_epochs=3)


def test_every_step_equals_torch() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.02)
    reference = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=3)
    for epoch in range(8):
        for step in range(5):
            progress = epoch + step / 5
            reference.step(progress)
            assert cosine_warm_restart(0.02, progress, 3) == pytest.approx(reference.get_last_lr()[0], abs=1e-15)


def test_warm_up_rises_evenly_to_the_cosine_and_moves_no_restart() -> None:
    warm, cold = dataclasses.replace(SHORT, warmup_epochs=2), SHORT
    rates = [learning_rate_at(warm, epoch, share) for epoch, share in ((1, 0.0), (1, 0.5), (2, 0.0), (2, 0.5))]
    cosine = [learning_rate_at(cold, epoch, share) for epoch, share in ((1, 0.0), (1, 0.5), (2, 0.0), (2, 0.5))]
    assert rates == pytest.approx([share * rate for share, rate in zip((0, 0.25, 0.5, 0.75), cosine, strict=True)])
    assert [learning_rate_at(warm, epoch, 0.5) for epoch in (3, 4)] == [
        learning_rate_at(cold, epoch, 0.5) for epoch in (3, 4)
    ]


@pytest.mark.parametrize(
    ("settings", "reference"),
    [
        (TrainSettings(optimizer="adam", weight_decay=0.1), lambda p: torch.optim.Adam(p, weight_decay=0.1)),
        (TrainSettings(optimizer="adamw", weight_decay=0.1), lambda p: torch.optim.AdamW(p, weight_decay=0.1)),
        (
            TrainSettings(optimizer="sgd", weight_decay=0.1, momentum=0.5),
            lambda p: torch.optim.SGD(p, lr=1e-3, weight_decay=0.1, momentum=0.5),
        ),
    ],
    ids=["adam", "adamw", "sgd"],
)
def test_every_optimizer_takes_torchs_steps(settings: TrainSettings, reference: object) -> None:
    one = torch.nn.Parameter(torch.linspace(-1, 1, 7))
    other = copy.deepcopy(one)
    optimizers = build_optimizer([{"params": [one], "scale": 1.0}], settings), reference([other])  # type: ignore[operator]
    for _ in range(3):
        for optimizer, weights in zip(optimizers, (one, other), strict=True):
            optimizer.zero_grad()
            (weights**3).sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    torch.testing.assert_close(one, other)


def test_the_average_equals_torchs_once_its_decay_is_constant() -> None:
    """0.1 is below (1 + n) / (10 + n) from the first step."""
    network = toy_training(SHORT).network
    ours, torchs = (
        WeightAverage(network, 0.1),
        AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.1), use_buffers=True),
    )
    torchs.n_averaged += 1  # it would copy the first weights
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        with torch.no_grad():
            for value in network.state_dict().values():
                value += torch.randint(3, value.shape, generator=generator)
        ours.update(network)
        torchs.update_parameters(network)
    for name, value in torchs.module.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(ours.network.state_dict()[name], value)


def test_the_average_leaves_the_first_weights_behind_soon() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(network.weight)
    average = WeightAverage(network, 0.9999)
    torch.nn.init.ones_(network.weight)
    left = 1.0
    for n in range(20):
        average.update(network)
        left *= (1 + n) / (10 + n)
    assert 1 - average.network.weight.item() == pytest.approx(left, abs=1e-6)
    assert left < 0.001


@pytest.mark.parametrize("precise_images", [0, 16])
def test_the_averaged_weights_are_validated_and_kept_and_the_steps_go_on_without_them(precise_images: int) -> None:
    settings = dataclasses.replace(SHORT, average_decay=0.9, precise_batch_norm_images=precise_images)
    averaged, plain = toy_training(settings), toy_training(dataclasses.replace(settings, average_decay=0.0))
    for training in (averaged, plain):
        train_epoch(training, 1)
    assert equal_weights(averaged.network.state_dict(), plain.network.state_dict())
    row = run_epoch(averaged, 2)
    assert averaged.best.epoch == 2
    assert equal_weights(averaged.best.state_dict, averaged.kept_network.state_dict())
    assert not equal_weights(averaged.best.state_dict, averaged.network.state_dict())
    refresh_batch_norm(averaged, 2)
    assert validate(averaged, 2)[0] == row.val_loss


def test_settings_know_every_optimizer() -> None:
    (optimizer,) = (field for field in dataclasses.fields(TrainSettings) if field.name == "optimizer")
    assert set(OPTIMIZERS) == set(optimizer.metadata["choices"])
