"""What a backbone costs: parameters, multiply-adds, layers, and the time of one image."""

import platform
import time
from typing import Any

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cxrflow.models.devices import describe_device
from cxrflow.models.networks import find_backbone

REPORT_BATCH = 32  # images; at 256 px this comes closest to the report's FLOPS column
WARM_UP_PASSES = 5
LAYER_RULE = "convolutions and linear layers, those in shortcuts and squeeze-and-excitation included"
FLOP_TOOL = "torch.utils.flop_counter, forward pass, operations / 2"


def profile_backbone(backbone: str, size_px: int, device: torch.device, repeats: int, threads: int) -> dict[str, Any]:
    """Measure a backbone as published, with its head of 1000 classes.

    Args:
        backbone: a name in BACKBONES.
        size_px: side of the square input.
        device: that is timed.
        repeats: timed passes of one image.
        threads: of the CPU, for the record.

    Returns:
        Plain values for the backbone's JSON; `gmac` is per image, `gmac_batch` for `batch` images, 1e9 multiply-adds.
    """
    network = torchvision.models.get_model(find_backbone(backbone).torchvision_name, weights=None).eval()
    params = count_params(network)
    gmac = count_gmac(network, size_px)
    latencies_ms = time_one_image(network, size_px, device, repeats)
    low, median, high = np.percentile(latencies_ms, [5, 50, 95]).tolist()
    return {
        "backbone": backbone,
        "size_px": size_px,
        "params": params,
        "weights_mib": params * 4 / 2**20,
        "gmac": gmac,
        "batch": REPORT_BATCH,
        "gmac_batch": gmac * REPORT_BATCH,
        "tool": FLOP_TOOL,
        "layers": count_layers(network),
        "layer_rule": LAYER_RULE,
        "latency_ms": {"median": median, "low": low, "high": high},
        "latency_images": 1,
        "repeats": repeats,
        "device": device.type,
        "device_name": describe_device(device),
        "threads": threads,
        "host": platform.node(),
        "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__},
    }


def count_params(network: nn.Module) -> int:
    """Return the number of trained values; BatchNorm's running statistics are none."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_layers(network: nn.Module) -> int:
    """Return the number of layers by LAYER_RULE."""
    return sum(isinstance(module, nn.Conv2d | nn.Linear) for module in network.modules())


def count_gmac(network: nn.Module, size_px: int) -> float:
    """Return the 1e9 multiply-adds of one image's forward pass, on the CPU.

    torch.utils.flop_counter counts a multiply-add as two operations, in convolutions and matrix products; it is wrong
    in the backward pass of grouped convolutions, which is not asked for here.
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, size_px, size_px))
    return int(counter.get_total_flops()) / 2 / 1e9


def time_one_image(network: nn.Module, size_px: int, device: torch.device, repeats: int) -> NDArray[np.float64]:
    """Return the milliseconds of forward passes of one image, in eval mode, float32: float64 (repeats,).

    On a GPU each pass is waited for.
    """
    network = network.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = torch.rand(1, 3, size_px, size_px, device=device).contiguous(memory_format=torch.channels_last)
    elapsed_ms = []
    with torch.inference_mode():
        for _ in range(WARM_UP_PASSES + repeats):
            _wait_for(device)
            start_s = time.perf_counter()
            network(image)
            _wait_for(device)
            elapsed_ms.append((time.perf_counter() - start_s) * 1e3)
    return np.array(elapsed_ms[WARM_UP_PASSES:])


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
