"""What a backbone costs: parameters, multiply-adds, layers, and images per second."""

import time
import timeit
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cxrflow.config.settings import TrainSettings
from cxrflow.files.records import SUBSETS
from cxrflow.models.augment import sample_changes
from cxrflow.models.batches import SplitImages
from cxrflow.models.devices import describe_device
from cxrflow.models.energy import read_energy_j
from cxrflow.models.epochs import train_step
from cxrflow.models.networks import build_network, build_published, fit_to_size, to_network_input
from cxrflow.models.ranks import LEAST_ROWS
from cxrflow.models.training import start_training

PAPER_BATCH = 32  # images; at 256 px this comes closest to the paper's FLOPS column
N_CLASSES = 2  # of the network whose speed is measured: the head takes none of the time
ROUNDS = 3  # of batches, for training and for inference, each of 0.2 s or more; the median counts


def count_cost(backbone: str, size_px: int) -> dict[str, Any]:
    """Count a backbone as published, with its head of 1000 classes, on square images.

    Returns plain values for the backbone's JSON; `gmac` is per image, `gmac_batch` for `batch` images, 1e9
    multiply-adds.
    """
    network = fit_to_size(build_published(backbone), backbone, size_px).eval()
    params, gmac = count_params(network), count_gmac(network, size_px)
    return {
        "backbone": backbone,
        "size_px": size_px,
        "params": params,
        "weights_mib": params * 4 / 2**20,
        "gmac": gmac,
        "batch": PAPER_BATCH,
        "gmac_batch": gmac * PAPER_BATCH,
        "tool": "torch.utils.flop_counter, forward pass, operations / 2",
        "layers": count_layers(network),
        "layer_rule": "convolutions and linear layers, those in shortcuts and squeeze-and-excitation included",
    }


def measure_speed(
    backbone: str, size_px: int, batch_size: int, precision: str, device: torch.device, threads: int
) -> dict[str, dict[str, Any]]:
    """Measure how many images a second a backbone trains on and predicts, by the code that does both in a study.

    A training step has augmentation, backward pass and optimizer; inference is float32. The images are random. Where a
    GPU has too little memory, batches of half the size are measured, with a note.

    precision: of the training, as in TrainSettings; threads: of the CPU, for the record.
    Returns {"training": ..., "inference": ...}, each with `images_per_s`, the median, and how it was measured; of
    inference also `energy_j`, the joules of an image, None where the device has no counter.
    """
    train_s, predict_s, energy_j, name = 0.0, 0.0, None, describe_device(device)
    while not train_s:
        try:
            train_s, predict_s, energy_j = _time_batches(backbone, size_px, batch_size, precision, device)
        except torch.OutOfMemoryError:
            if batch_size < 2 * LEAST_ROWS:
                raise
            print(f"note: {name} has too little memory for {batch_size} images: measuring with half")
            batch_size //= 2
    how = {"batch_size": batch_size, "size_px": size_px, "device": device.type, "device_name": name, "threads": threads}
    return {
        "training": {"images_per_s": batch_size / train_s, "precision": precision, **how},
        "inference": {"images_per_s": batch_size / predict_s, "precision": "float32", "energy_j": energy_j, **how},
    }


def _time_batches(
    backbone: str, size_px: int, batch_size: int, precision: str, device: torch.device
) -> tuple[float, float, float | None]:
    """Return the seconds of a training step and of the inference of a batch, and the joules of an image there."""
    settings = TrainSettings(batch_size=batch_size, precision=precision)
    network = fit_to_size(build_network(backbone, N_CLASSES, settings.batch_norm_momentum), backbone, size_px)
    training = start_training(network, _random_data(batch_size, size_px), settings, seed=0, device=device)
    places, changes = torch.arange(batch_size), sample_changes(batch_size, settings, seed=0, epoch=1)
    network.train()
    train_s = _median_time(lambda: train_step(training, places, changes, settings.learning_rate))
    network.eval()
    source = training.sources["train"]
    calls: list[None] = []

    def predict_batch() -> None:
        calls.append(None)
        network(to_network_input(source.gather(places)))

    with torch.inference_mode():
        before_j = read_energy_j(device)
        predict_s, after_j = _median_time(predict_batch), read_energy_j(device)
    if before_j is None or after_j is None:
        return train_s, predict_s, None
    return train_s, predict_s, (after_j - before_j) / len(calls) / batch_size


def _random_data(batch_size: int, size_px: int) -> SplitImages:
    """Return a batch of random images with labels in turn, all for training and for validation."""
    images = np.random.default_rng(0).integers(0, 256, (batch_size, size_px, size_px), dtype=np.uint8)
    names = [str(i) for i in range(batch_size)]
    return SplitImages(
        images=images,
        labels=np.arange(batch_size) % N_CLASSES,
        rows=dict.fromkeys(SUBSETS, np.arange(batch_size)),
        image_ids=names,
        patient_ids=names,
        class_names=names[:N_CLASSES],
    )


def _median_time(compute: Callable[[], object]) -> float:
    """Return the seconds that a batch takes: the median of rounds, after those that find their length and warm up."""
    batches = timeit.Timer(compute, timer=_read_clock)
    n_batches, _ = batches.autorange()
    return float(np.median(batches.repeat(ROUNDS, n_batches))) / n_batches


def _read_clock() -> float:
    """Return seconds, once a GPU has finished all that is queued."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def count_params(network: nn.Module) -> int:
    """Return the number of trained values; BatchNorm's running statistics do not count."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_layers(network: nn.Module) -> int:
    """Return the number of convolutions and linear layers."""
    return sum(isinstance(module, nn.Conv2d | nn.Linear) for module in network.modules())


def count_gmac(network: nn.Module, size_px: int) -> float:
    """Return the 1e9 multiply-adds of one image's forward pass, on the CPU.

    torch.utils.flop_counter counts a multiply-add as two operations, in convolutions and matrix products; it is wrong
    in the backward pass of grouped convolutions, which is not measured here, and does not know the CPU's fused
    attention, so attention is computed step by step.
    """
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, size_px, size_px))
    return int(counter.get_total_flops()) / 2 / 1e9
