"""Grad-CAM: which parts of an X-ray raise the score of the class that the network predicts.

The maps are those of pytorch-grad-cam, the reference implementation of Selvaraju et al. 2017 (Grad-CAM, ICCV).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from cxrflow.models.networks import to_network_input
from cxrflow.models.progress import ProgressBar

BATCH_SIZE = 32

Images = NDArray[np.uint8]  # uint8 (N, H, W), 0-255
Map = NDArray[np.float32]  # float32 (H, W), 0-1


def iterate_maps(
    network: nn.Module,
    layer: str,
    images: Images,
    rows: Sequence[int],
    targets: Sequence[int],
    device: torch.device,
) -> Iterator[Map]:
    """Yield one map per row of `images`, at the images' size, for the class numbers `targets`; a batch is in memory.

    pytorch-grad-cam stretches each map from its minimum to 0 and its maximum to 1 before and after the resize, so a map
    is 0 everywhere when Grad-CAM's ReLU leaves nothing, or leaves the same everywhere.

    Args:
        network: moved to `device` and put into eval mode; its weights and their requires_grad stay as they are.
        layer: dotted path of the layer whose output is weighted: `gradcam_layer` of the backbone.
        images: uint8 (N, H, W), 0-255, as packed, not yet normalised; may be memory-mapped.
        rows: which of them, n numbers.
        targets: n class numbers, one per row.
        device: that computes.
    """
    network.eval().to(device)
    with (
        _gradients_from(network, layer) as target_layer,
        GradCAM(model=network, target_layers=[target_layer]) as grad_cam,
        ProgressBar("Grad-CAM", total=len(rows)) as bar,
    ):
        for start in range(0, len(rows), BATCH_SIZE):
            batch = slice(start, start + BATCH_SIZE)
            pixels = torch.from_numpy(np.array(images[list(rows[batch])])).to(device)
            yield from grad_cam(to_network_input(pixels), [ClassifierOutputTarget(target) for target in targets[batch]])
            bar.advance(len(pixels))


@contextmanager
def _gradients_from(network: nn.Module, layer: str) -> Iterator[nn.Module]:
    """Let the graph of gradients begin at the layer's output, and put everything back at the end.

    Grad-CAM needs the gradient of a class score with respect to that output and nothing before it. Without this the
    backward pass runs through the whole network: 3 to 4 times the work for the same maps.
    """
    needed = [parameter.requires_grad for parameter in network.parameters()]
    network.requires_grad_(False)
    target_layer = network.get_submodule(layer)
    handle = target_layer.register_forward_hook(_begin_graph)
    try:
        yield target_layer
    finally:
        handle.remove()
        for parameter, need in zip(network.parameters(), needed, strict=True):
            parameter.requires_grad_(need)


def _begin_graph(_layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output.detach().requires_grad_(True)
