"""What the tests let several processes do together; processes import it, so it is a module of its own."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.ops import StochasticDepth

from cxrflow.config.backbones import BACKBONES
from cxrflow.config.settings import TrainSettings
from cxrflow.models.distributed import RankOfGroup, find_ranks
from cxrflow.models.networks import build_network
from cxrflow.models.synchronized import synchronize_layers
from cxrflow.models.training import Training, fit, start_training
from tests.models.toy import CPU, TINY, toy_data

# With weight decay: without it Adam takes the same steps however the gradients are scaled
SHORT = TrainSettings(epochs=3, batch_size=8, learning_rate=0.01, restart_epochs=3, weight_decay=0.1)
# 26 images by 8: the last batch has 2, and the third of three processes none; 4 batches of val, the last shorter
UNEVEN = {"n_train": 26, "n_val": 26}
# One batch large enough that BatchNorm divides by no near-zero variance, which would blow rounding up
EVEN = {"n_train": 13, "n_val": 3, "size_px": 32}
DOUBLE = TrainSettings(epochs=2, batch_size=13, learning_rate=0.003)


def train_tiny(settings: TrainSettings = SHORT) -> Training:
    data = toy_data(**UNEVEN)
    network = build_network("tiny", 2, settings.batch_norm_momentum)
    training = start_training(network, data, settings, seed=0, device=CPU, ranks=find_ranks())
    fit(training, None, lambda _row, _is_best: None)
    return training


def train_in_float64(backbone: str) -> Training:
    """Train in float64, where rounding is 1e-16: what differs by more is no rounding."""
    network = build_network(backbone, 2, DOUBLE.batch_norm_momentum).double()
    to_float, torch.Tensor.float = torch.Tensor.float, torch.Tensor.double  # type: ignore[method-assign]
    torch.set_default_dtype(torch.float64)
    try:
        training = start_training(network, toy_data(**EVEN), DOUBLE, seed=0, device=CPU, ranks=find_ranks())
        training.class_weights = training.class_weights.double()
        fit(training, None, lambda _row, _is_best: None)
    finally:
        torch.Tensor.float = to_float  # type: ignore[method-assign]
        torch.set_default_dtype(torch.float32)
    return training


def curves(training: Training) -> dict[str, list[float]]:
    names = ("train_loss", "train_macro_f1", "val_loss", "val_macro_f1")
    return {name: [getattr(row, name) for row in training.history] for name in names}


def train_everything(folder: Path) -> None:
    """Train all that is compared, in one go: starting processes takes longer than what they do here."""
    BACKBONES["tiny"] = TINY
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    compare_batch_norm()
    compare_noise()
    trainings = {
        "tiny": train_tiny(),
        "bfloat16": train_tiny(dataclasses.replace(SHORT, precision="bfloat16")),
        **{name: train_in_float64(name) for name in BACKBONES if name != "tiny"},
    }
    ranks = find_ranks()
    for name, training in trainings.items():
        weights = training.network.state_dict()
        sums = torch.stack([value.double().sum() for value in weights.values()])
        torch.testing.assert_close(ranks.total(sums), sums * ranks.count, rtol=1e-12, atol=0)  # no process has drifted
        if ranks.leads:
            torch.save({"curves": curves(training), "weights": weights}, folder / f"{name}.pt")


def compare_batch_norm() -> None:
    """Compare with torch's BatchNorm on the whole batch, of 7 rows and of fewer than there are processes."""
    for n_rows in (7, 2):
        ranks = RankOfGroup()
        own = ranks.open_batch(slice(0, n_rows))
        generator = torch.Generator().manual_seed(n_rows)
        images, gradient = (torch.randn(n_rows, 5, 4, 3, generator=generator).double() for _ in range(2))
        images += 100  # far from zero, where a variance from sums of squares would lose its digits
        wanted, synchronized = nn.BatchNorm2d(5).double(), nn.Sequential(nn.BatchNorm2d(5).double())
        synchronize_layers(synchronized, ranks)
        whole, part = images.clone().requires_grad_(), images[own].clone().requires_grad_()
        wanted(whole).backward(gradient)
        output = synchronized(part)
        output.backward(gradient[own])
        check(output, wanted(whole)[own])
        check(part.grad, whole.grad[own])
        check(ranks.total(synchronized[0].weight.grad), wanted.weight.grad)
        check(ranks.total(synchronized[0].bias.grad), wanted.bias.grad)
        synchronized(part)  # as often as the other
        for name, value in wanted.named_buffers():
            check(synchronized[0].get_buffer(name), value)
        check(synchronized.eval()(part), wanted.eval()(whole)[own])


def compare_noise() -> None:
    """Compare with the layers on the whole batch, drawn one after the other from one random state."""
    layers = nn.Sequential(nn.Dropout(0.3), StochasticDepth(0.4, "row"), nn.Dropout(0.5), StochasticDepth(0.5, "batch"))
    ranks = RankOfGroup()
    own = ranks.open_batch(slice(0, 8))
    values = torch.arange(1.0, 8 * 6 * 4 * 4 + 1).reshape(8, 6, 4, 4)
    for mode in (True, False):
        torch.manual_seed(3)
        wanted = layers.train(mode)(values)
        shared = nn.Sequential(*layers)
        synchronize_layers(shared, ranks)
        torch.manual_seed(3)
        check(shared.train(mode)(values[own]), wanted[own])


def check(one: Any, other: Any) -> None:
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9, check_dtype=True)
