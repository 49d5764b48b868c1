"""Grad-CAM: which parts of an X-ray raise the score of the class that the network predicts.

Selvaraju et al. 2017, Grad-CAM, ICCV, equations 1 and 2. Two engines compute the same maps: `direct`, below, and
`pytorch_grad_cam`, the reference implementation; a test holds them equal to 1e-5 on every backbone. Direct keeps no
graph but the head's and imports in a third of the time.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cxrflow.models.networks import to_network_input

BATCH_SIZE = 32
LEAST_PEAK = 1e-7  # as in pytorch-grad-cam: what a map is divided by where it is 0 everywhere

Images = NDArray[np.uint8]  # uint8 (N, H, W), 0-255
Map = NDArray[np.float32]  # float32 (H, W), 0-1
Engine = Callable[[nn.Module, nn.Module, Tensor, Sequence[int]], NDArray[np.float32]]


def iterate_maps(
    network: nn.Module,
    layer: str,
    images: Images,
    rows: Sequence[int],
    targets: Sequence[int],
    device: torch.device,
    engine: str = "direct",
) -> Iterator[Map]:
    """Yield one map per row of `images`, at the images' size, for the class numbers `targets`; a batch is in memory.

    Each map is stretched from its minimum to 0 and its maximum to 1 before and after the resize, so a map is 0
    everywhere when Grad-CAM's ReLU leaves nothing, or leaves the same everywhere.

    network: moved to `device` and put into eval mode; its weights and their requires_grad stay as they are; layer:
    dotted path of the layer whose output is weighted, from `find_gradcam_layer`; images: as packed, not yet normalised.
    """
    network.eval().to(device)
    with _gradients_from(network, layer) as target_layer:
        for start in range(0, len(rows), BATCH_SIZE):
            batch = slice(start, start + BATCH_SIZE)
            pixels = torch.from_numpy(np.array(images[list(rows[batch])])).to(device)
            yield from ENGINES[engine](network, target_layer, to_network_input(pixels), targets[batch])


def compute_directly(
    network: nn.Module, layer: nn.Module, inputs: Tensor, targets: Sequence[int]
) -> NDArray[np.float32]:
    """Return float32 (B, H, W), 0-1: of inputs float (B, 3, H, W), from the layer's output and its gradient."""
    kept: list[Tensor] = []
    keep = layer.register_forward_hook(lambda _layer, _inputs, output: kept.append(output))
    with keep, layer.register_forward_hook(_shield), torch.enable_grad():
        scores = network(inputs)
    (activations,) = kept
    chosen = scores[torch.arange(len(targets)), torch.tensor(targets)].sum()
    (gradient,) = torch.autograd.grad(chosen, activations)
    cells = (gradient.mean((2, 3), keepdim=True) * activations.detach()).sum(1).relu_().float().cpu().numpy()
    size = (inputs.shape[-1], inputs.shape[-2])
    return np.stack([_stretch(np.asarray(cv2.resize(_stretch(map_), size), np.float32)) for map_ in cells])


def compute_by_reference(
    network: nn.Module, layer: nn.Module, inputs: Tensor, targets: Sequence[int]
) -> NDArray[np.float32]:
    """Return the same from pytorch-grad-cam."""
    from pytorch_grad_cam import GradCAM  # here: its import takes longer than all maps of a small study
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with GradCAM(model=network, target_layers=[layer]) as grad_cam, layer.register_forward_hook(_shield):
        return np.asarray(grad_cam(inputs, [ClassifierOutputTarget(target) for target in targets]), np.float32)


ENGINES: dict[str, Engine] = {"direct": compute_directly, "pytorch_grad_cam": compute_by_reference}


def _stretch(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    cells = cells - cells.min()
    return np.asarray(cells / (LEAST_PEAK + cells.max()), np.float32)


@contextmanager
def _gradients_from(network: nn.Module, layer: str) -> Iterator[nn.Module]:
    """Let the graph of gradients begin at the layer's output, and put everything back at the end.

    Grad-CAM needs the gradient of a class score with respect to that output and nothing before it. Without this the
    backward pass runs through the whole network: 3 to 4 times the work for the same maps.
    """
    needed = [parameter.requires_grad for parameter in network.parameters()]
    network.requires_grad_(False)
    target_layer = network.get_submodule(layer)
    try:
        with target_layer.register_forward_hook(lambda _layer, _inputs, output: output.detach().requires_grad_(True)):
            yield target_layer
    finally:
        for parameter, need in zip(network.parameters(), needed, strict=True):
            parameter.requires_grad_(need)


def _shield(_layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """Hand a copy on: what follows may change it in place, as DenseNet's last ReLU does; the output is still needed."""
    return output.clone()
