"""How the weights move: the optimizer and its groups, the learning rate of each step, the average over the steps."""

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
import torch._dynamo  # every optimizer imports it: rather here, where `importing_much` looks for no garbage
from torch import nn

from cxrflow.config.settings import TrainSettings

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}


def build_optimizer(groups: list[dict[str, Any]], settings: TrainSettings) -> torch.optim.Optimizer:
    """Return the optimizer of `group_parameters`' groups.

    Fused: one pass over each weight instead of ten, which saves 2/3 of the optimizer's time on a CPU too.
    """
    more = {"momentum": settings.momentum} if settings.optimizer == "sgd" else {}
    return OPTIMIZERS[settings.optimizer](groups, weight_decay=settings.weight_decay, fused=True, **more)


def group_parameters(network: nn.Module, new_layers: str, transfer_scale: float) -> list[dict[str, Any]]:
    """Return groups of parameters, each with the `scale` of its learning rate: 1, and another for what is transferred.

    new_layers: dotted path of the layers that start from random weights; empty: all of them. With a scale of 0 all
    others are frozen: they get no gradient, which saves the backward pass; their BatchNorm adapts its statistics, not
    its weights.
    """
    prefix = f"{new_layers}." if new_layers else ""
    new = [parameter for name, parameter in network.named_parameters() if name.startswith(prefix)]
    old = [parameter for name, parameter in network.named_parameters() if not name.startswith(prefix)]
    for parameter in old:
        parameter.requires_grad_(transfer_scale > 0)
    groups = [{"params": new, "scale": 1.0}, {"params": old, "scale": transfer_scale}]
    return [group for group in groups if group["params"] and group["scale"]]


def learning_rate_at(settings: TrainSettings, epoch: int, share_done: float) -> float:
    """Return the learning rate of a step in an epoch, from 1, of which this share is done.

    The warm-up is linear, step by step (Goyal et al. 2017, https://arxiv.org/abs/1706.02677), and moves no restart.
    """
    progress = epoch - 1 + share_done
    rate = cosine_warm_restart(settings.learning_rate, progress, settings.restart_epochs)
    return rate * progress / settings.warmup_epochs if progress < settings.warmup_epochs else rate


def cosine_warm_restart(learning_rate: float, progress: float, restart_epochs: int) -> float:
    """Return the learning rate of cosine annealing with warm restarts.

    Loshchilov & Hutter 2017, SGDR (https://arxiv.org/abs/1608.03983), equation 5 with eta_min = 0, eta_max =
    `learning_rate`, T_i = `restart_epochs` in every cycle. As there, it is used at every step, with fractional epochs:
    a `progress` of 1.5 is half-way through the second epoch.
    """
    return learning_rate * (1 + math.cos(math.pi * (progress % restart_epochs) / restart_epochs)) / 2


class WeightAverage:
    """A network with the exponential moving average of another's weights and BatchNorm statistics.

    As torch.optim.swa_utils.AveragedModel with get_ema_multi_avg_fn, but the decay is at most (1 + n) / (10 + n) after
    n steps, as in TensorFlow's ExponentialMovingAverage: in a short training the first weights would stay otherwise.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        """Start from the weights of `network`; decay: 0-1, the share of the average that stays at each step."""
        self.network = copy.deepcopy(network).requires_grad_(False)
        self._decay, self._n_steps = decay, 0

    def update(self, network: nn.Module) -> None:
        """Take in the weights after a step."""
        weight = 1 - min(self._decay, (1 + self._n_steps) / (10 + self._n_steps))
        self._n_steps += 1
        pairs = zip(self.network.state_dict().values(), network.state_dict().values(), strict=True)
        averaged, current = zip(*[pair for pair in pairs if pair[0].is_floating_point()], strict=True)
        torch._foreach_lerp_(averaged, current, weight)

    def state(self) -> dict[str, Any]:
        """Return weights and steps, for a checkpoint."""
        return {"network": self.network.state_dict(), "n_steps": self._n_steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        self.network.load_state_dict(state["network"])
        self._n_steps = state["n_steps"]
