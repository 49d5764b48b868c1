"""The learning rate over the training."""

import math


def cosine_warm_restart(learning_rate: float, progress: float, restart_epochs: int) -> float:
    """Return the learning rate of cosine annealing with warm restarts.

    Loshchilov & Hutter 2017, SGDR (https://arxiv.org/abs/1608.03983), equation 5 with eta_min = 0, eta_max =
    `learning_rate`, T_i = `restart_epochs` in every cycle. As there, it is asked at every step, with fractional epochs.

    Args:
        learning_rate: at the start of each cycle.
        progress: epochs since the start of the training, at least 0; 1.5 is half-way through the second epoch.
        restart_epochs: length of a cycle, in epochs.
    """
    return learning_rate * (1 + math.cos(math.pi * (progress % restart_epochs) / restart_epochs)) / 2
