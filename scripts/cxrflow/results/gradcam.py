"""Grad-CAM and LayerCAM: which parts of an X-ray raise the score of a class.

Selvaraju et al. 2017, Grad-CAM, ICCV, equations 1 and 2; Jiang et al. 2021, LayerCAM, IEEE Trans. Image Process.
30:5875-5888. Two engines compute the same maps: `direct`, below, and `pytorch_grad_cam`, the reference implementation.
On the tests' networks they differ by less than 1e-5 of maps from 0 to 1; on trained ones by up to 8e-5, on maps with
next to nothing in them. Direct keeps no graph but that behind the layer and imports in a third of the time.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cxrflow.errors import CxrflowError
from cxrflow.models.networks import TABLE, find_backbone, to_network_input
from cxrflow.results.enlarging import Map, enlarge

BATCH_SIZE = 32
MOST_OTHER_TOKENS = 32  # class and register tokens of a transformer, in front of those of its patches
LEAST_CELLS = 7  # of a grid, to a side, for its maps to be scored: that of the networks' own 224 px

Images = NDArray[np.uint8]  # uint8 (N, H, W), 0-255
Engine = Callable[[nn.Module, nn.Module, "MapLayer", Tensor, Sequence[int]], NDArray[np.float32]]


@dataclass(frozen=True)
class MapLayer:
    """The layer whose maps are weighed: its dotted path, rows and columns of its output, and how they are weighed."""

    path: str
    grid: tuple[int, int]
    method: str  # a key of METHODS

    @property
    def is_scored(self) -> bool:
        """Whether the grid is fine enough for a score."""
        return min(self.grid) >= LEAST_CELLS

    def __str__(self) -> str:
        """Return what a reader needs to know of its maps."""
        return f"{self.method} at {self.path}, {self.grid[0]}x{self.grid[1]} cells"


def find_map_layer(network: nn.Module, backbone: str, size_px: int, least_cells: int = LEAST_CELLS) -> MapLayer:
    """Return the layer to explain: the one that the table names, else the deepest of at least `least_cells` a side.

    Where no layer has so many, the last whose output is larger than 1x1. A layer that a shortcut leads around, or that
    runs more than once in a forward pass, is passed over: its maps are not all that the head sees; so is one whose
    cells nothing reads, as the last of a transformer that answers by its class token. Grad-CAM's weight of a whole
    channel is right for the network's last maps; on the finer grid of an earlier layer, or behind further attention,
    gradients differ from cell to cell, and LayerCAM weighs each (Jiang et al. 2021, IEEE Trans. Image Process.
    30:5875-5888).

    Raises:
        CxrflowError: there is no such layer.
    """
    named = find_backbone(backbone).gradcam_layer
    with _frozen(network):
        grids, tokens = _trace_grids(network.eval(), size_px)
        fine = [path for path, grid in grids.items() if min(grid) >= least_cells] or [*grids]
        carrying = (path for path in reversed(fine) if _carries_all(network, path, grids[path], size_px))
        path = named or next(carrying, None)
    if path not in grids:
        raise CxrflowError(
            f"{named or f'no layer of {backbone}'} has maps larger than 1x1 for images of {size_px} px, which Grad-CAM"
            f" needs: choose larger images, or name a layer as `gradcam_layer` in {TABLE}"
        )
    last = next(reversed(grids))
    is_last = path == last or (grids[path] == grids[last] and not tokens)
    return MapLayer(path, grids[path], "Grad-CAM" if is_last else "LayerCAM")


def as_maps(output: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return what a layer puts out as maps, (B, C, h, w).

    output: maps, or the tokens of a transformer, (B, n, C), of which the last h * w are its patches, row by row.
    """
    if output.dim() == 4:
        return output
    return output[:, -math.prod(grid) :].transpose(1, 2).reshape(-1, output.shape[2], *grid)  # any B, also in a graph


def _trace_grids(network: nn.Module, size_px: int) -> tuple[dict[str, tuple[int, int]], set[str]]:
    """Return the grid of every module that runs once and whose maps are larger than 1x1, in the order of their ends.

    And which of them put out tokens of a transformer, whose grid is that of the convolution that cuts out the patches.
    """
    paths = {module: path for path, module in network.named_modules() if path}
    ended: list[tuple[str, tuple[int, int]]] = []
    tokens: set[str] = set()

    def note(module: nn.Module, _inputs: object, output: object) -> None:
        if module not in paths or not isinstance(output, Tensor):
            return
        if output.dim() == 4 and output.shape[2] == output.shape[3]:  # not channels last, as in Swin
            ended.append((paths[module], (output.shape[2], output.shape[3])))
        elif output.dim() == 3 and ended and 0 <= output.shape[1] - math.prod(ended[0][1]) <= MOST_OTHER_TOKENS:
            ended.append((paths[module], ended[0][1]))
            tokens.add(paths[module])

    with nn.modules.module.register_module_forward_hook(note), torch.no_grad():
        network(_blank(network, size_px))
    times = Counter(path for path, _ in ended)
    return {path: grid for path, grid in ended if times[path] == 1 and max(grid) > 1}, tokens


def _carries_all(network: nn.Module, path: str, grid: tuple[int, int], size_px: int) -> bool:
    """Return whether the cells of a module are read, and nothing of the image reaches the scores but through it.

    The weights are frozen.
    """
    inputs, kept = _blank(network, size_px).requires_grad_(), []

    def cut(_layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[0].clone()  # what follows may change it in place

    with network.get_submodule(path).register_forward_hook(cut):
        scores: Tensor = network(inputs)
    around, cells = torch.autograd.grad(scores.sum(), (inputs, kept[0]), allow_unused=True)
    return around is None and (kept[0].dim() == 4 or bool(as_maps(cells, grid).any()))


def _blank(network: nn.Module, size_px: int) -> Tensor:
    return torch.zeros(1, 3, size_px, size_px, device=next(network.parameters()).device)


def weigh_channels(activations: Tensor, gradient: Tensor) -> Tensor:
    """Return the sum over channels, each times its mean gradient: (B, C, H, W) to (B, H, W)."""
    return (gradient.mean((2, 3), keepdim=True) * activations).sum(1)


def weigh_cells(activations: Tensor, gradient: Tensor) -> Tensor:
    """Return the sum over channels of each cell times its gradient where that is positive."""
    return (gradient.relu() * activations).sum(1)


METHODS = {"Grad-CAM": weigh_channels, "LayerCAM": weigh_cells}


def iterate_maps(
    network: nn.Module,
    layer: MapLayer,
    images: Images,
    rows: Sequence[int],
    targets: Sequence[int],
    device: torch.device,
    engine: str = "direct",
) -> Iterator[Map]:
    """Yield one map per row of `images`, at the images' size, for the class numbers `targets`; a batch is in memory.

    Each map is stretched from its minimum to 0 and its maximum to 1 before and after the resize, so a map is 0
    everywhere when the ReLU leaves nothing, or leaves the same everywhere.

    network: moved to `device` and put into eval mode; its weights and their requires_grad stay as they are; layer:
    from `find_map_layer`; images: as packed, not yet normalised.
    """
    network.eval().to(device)
    with _gradients_from(network, layer.path) as target_layer:
        for start in range(0, len(rows), BATCH_SIZE):
            batch = slice(start, start + BATCH_SIZE)
            pixels = torch.from_numpy(np.array(images[list(rows[batch])])).to(device)
            yield from ENGINES[engine](network, target_layer, layer, to_network_input(pixels), targets[batch])


def compute_directly(
    network: nn.Module, target_layer: nn.Module, layer: MapLayer, inputs: Tensor, targets: Sequence[int]
) -> NDArray[np.float32]:
    """Return float32 (B, H, W), 0-1: of inputs float (B, 3, H, W), from the layer's output and its gradient."""
    kept: list[Tensor] = []
    keep = target_layer.register_forward_hook(lambda _layer, _inputs, output: kept.append(output))
    with keep, target_layer.register_forward_hook(_shield), torch.enable_grad():
        scores = network(inputs)
    (activations,) = kept
    chosen = scores[torch.arange(len(targets)), torch.tensor(targets)].sum()
    (gradient,) = torch.autograd.grad(chosen, activations)
    maps = (as_maps(tensor, layer.grid) for tensor in (activations.detach(), gradient))
    cells = METHODS[layer.method](*maps).relu_().float().cpu().numpy()
    size = (inputs.shape[-1], inputs.shape[-2])
    return np.stack([enlarge(map_, size) for map_ in cells])


def compute_by_reference(
    network: nn.Module, target_layer: nn.Module, layer: MapLayer, inputs: Tensor, targets: Sequence[int]
) -> NDArray[np.float32]:
    """Return the same from pytorch-grad-cam."""
    import pytorch_grad_cam  # here: its import takes longer than all maps of a small study
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    package_method = getattr(pytorch_grad_cam, layer.method.replace("-", ""))
    reshape = partial(as_maps, grid=layer.grid)
    explained = package_method(model=network, target_layers=[target_layer], reshape_transform=reshape)
    with explained as grad_cam, target_layer.register_forward_hook(_shield):
        return np.asarray(grad_cam(inputs, [ClassifierOutputTarget(target) for target in targets]), np.float32)


ENGINES: dict[str, Engine] = {"direct": compute_directly, "pytorch_grad_cam": compute_by_reference}


@contextmanager
def _gradients_from(network: nn.Module, layer: str) -> Iterator[nn.Module]:
    """Let the graph of gradients begin at the layer's output, and put everything back at the end.

    A map needs the gradient of a class score with respect to that output and nothing before it. Without this the
    backward pass runs through the whole network: 3 to 4 times the work for the same maps.
    """
    target_layer = network.get_submodule(layer)
    start = target_layer.register_forward_hook(lambda _layer, _inputs, output: output.detach().requires_grad_(True))
    with _frozen(network), start:
        yield target_layer


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Let no weight need a gradient, and put that back at the end."""
    needed = [parameter.requires_grad for parameter in network.parameters()]
    network.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, need in zip(network.parameters(), needed, strict=True):
            parameter.requires_grad_(need)


def _shield(_layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """Hand a copy on: what follows may change it in place, as DenseNet's last ReLU does; the output is still needed."""
    return output.clone()
