"""Grad-CAM as a part of the exported graph, for runtimes without gradients.

Where the last maps are averaged over their cells and go through a few layers to the classes, the gradient that Grad-CAM
needs is known in closed form: for one linear layer its weights (CAM: Zhou et al. 2016, CVPR), and for the hidden layer
of MobileNetV3's head these times the slope of its hardswish and the weights before it; through a normalization of the
average, as in ConvNeXt and in a transformer that averages its patches, it is passed back likewise. A network of any
other kind, such as a transformer that answers by its class token, gets no maps. Equations 1 and 2 of Selvaraju et al.
2017, Grad-CAM, ICCV.
"""

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from cxrflow.errors import CxrflowError
from cxrflow.results.gradcam import as_maps, find_map_layer

PASSED = (nn.Dropout, nn.Identity, nn.Flatten)  # they change nothing in eval mode but the shape
TOLERANCE = 1e-4  # of the largest gradient
N_COMPARED = 2  # images


@dataclass(frozen=True)
class MapPart:
    """What turns the output of a layer into maps: its path, rows and columns, and what follows the average of them."""

    layer: str
    grid: tuple[int, int]
    tail: list[nn.Module]

    def weigh(self, activations: Tensor) -> Tensor:
        """Return the maps of every class, (n, n_classes, h, w), at least 0, of what the layer puts out."""
        cells = as_maps(activations, self.grid)
        slopes = self.find_slopes(cells.mean((2, 3))) / math.prod(self.grid)
        n_classes = cast(nn.Linear, self.tail[-1]).out_features  # a plain number, which the graph keeps
        maps: Tensor = (slopes @ cells.flatten(2)).relu()
        return maps.reshape(-1, n_classes, *self.grid)

    def find_slopes(self, pooled: Tensor) -> Tensor:
        """Return the gradient of every logit, (n, n_classes, C), with respect to the averages, (n, C)."""
        entered = []
        for module in self.tail:
            entered.append(pooled)
            pooled = _pass_on(module, pooled)
        slopes = torch.eye(pooled.shape[1], dtype=pooled.dtype, device=pooled.device)[None]
        for module, values in zip(reversed(self.tail), reversed(entered), strict=True):
            slopes = _pass_back(module, slopes, values)
        return slopes


def _pass_on(module: nn.Module, values: Tensor) -> Tensor:
    """Return what a module makes of values (n, C); a normalization of images, as ConvNeXt's, does not take these."""
    if isinstance(module, nn.LayerNorm):
        return layer_norm(values, module.normalized_shape, module.weight, module.bias, module.eps)
    found: Tensor = module(values.clone())  # it may change them in place
    return found


def _pass_back(module: nn.Module, slopes: Tensor, values: Tensor) -> Tensor:
    """Return the gradient before a module from that behind it, (n, n_classes, C), and the values (n, C) that enter."""
    if isinstance(module, nn.Linear):
        return slopes @ module.weight
    if not isinstance(module, nn.LayerNorm):
        return slopes * slope_of(module, values)
    centred = values - values.mean(1, keepdim=True)
    deviation = (centred.square().mean(1, keepdim=True) + module.eps).sqrt()[:, None]
    unit, weighed = centred[:, None] / deviation, slopes * module.weight
    return (weighed - weighed.mean(2, keepdim=True) - unit * (weighed * unit).mean(2, keepdim=True)) / deviation


def slope_of(module: nn.Module, values: Tensor) -> Tensor:
    """Return the derivative of an activation at the values that enter it, (n, C), as (n, 1, C)."""
    if isinstance(module, nn.Hardswish):
        inside = (values > -3) & (values < 3)
        return torch.where(inside, values / 3 + 0.5, (values >= 3).to(values.dtype))[:, None]
    return (values > 0).to(values.dtype)[:, None]  # ReLU


def find_map_part(network: nn.Module, backbone: str, size_px: int) -> MapPart | None:
    """Return how maps are made of a network in eval mode, or None where they would not be those of Grad-CAM."""
    try:
        layer = find_map_layer(network, backbone, size_px, least_cells=1)
    except CxrflowError:
        return None
    part = MapPart(layer.path, layer.grid, _list_after(network, layer.path, size_px))
    return part if _equals_gradients(network, part, size_px) else None


def _list_after(network: nn.Module, layer: str, size_px: int) -> list[nn.Module]:
    """Return the modules without parts that run after a layer, but for what only averages or passes on."""
    ran: list[nn.Module] = []
    target = network.get_submodule(layer)
    hooks = [
        module.register_forward_hook(lambda module, _inputs, _output: ran.append(module))
        for module in network.modules()
        if module is target or not [*module.children()]
    ]
    with torch.no_grad():
        network(torch.zeros(1, 3, size_px, size_px))
    for hook in hooks:
        hook.remove()
    after = ran[len(ran) - ran[::-1].index(target) :]
    return [module for module in after if not (isinstance(module, PASSED) or _averages(module))]


def _averages(module: nn.Module) -> bool:
    return isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in (1, (1, 1))


def _equals_gradients(network: nn.Module, part: MapPart, size_px: int) -> bool:
    """Return whether the slopes in closed form are those of gradients, on images of noise."""
    if (
        not part.tail
        or not isinstance(part.tail[-1], nn.Linear)
        or not all(isinstance(module, (nn.Linear, nn.LayerNorm, nn.Hardswish, nn.ReLU)) for module in part.tail)
    ):
        return False
    noise = torch.rand(N_COMPARED, 3, size_px, size_px, generator=torch.Generator().manual_seed(0))
    kept: list[Tensor] = []

    def restart(_layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[0].clone()  # what follows may change it in place

    with network.get_submodule(part.layer).register_forward_hook(restart), torch.enable_grad():
        logits = network(noise)
    (activations,) = kept
    cells = as_maps(activations.detach(), part.grid)
    first = part.tail[0]
    width = first.in_features if isinstance(first, nn.Linear) else math.prod(getattr(first, "normalized_shape", ()))
    if width != cells.shape[1]:
        return False  # not an average over cells goes on
    classes = range(logits.shape[1])
    gradients = [torch.autograd.grad(logits[:, k].sum(), activations, retain_graph=True)[0] for k in classes]
    exact = torch.stack([as_maps(gradient, part.grid) for gradient in gradients], 1)  # (n, n_classes, C, h, w)
    found = part.find_slopes(cells.mean((2, 3))) / math.prod(part.grid)
    return bool((found[..., None, None] - exact).abs().max() <= TOLERANCE * exact.abs().max())
