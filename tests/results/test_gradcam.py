"""Grad-CAM of every backbone, against a computation of its own from the paper's formula."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from cxrflow.config.backbones import BACKBONES, Backbone
from cxrflow.errors import CxrflowError
from cxrflow.models.networks import build_network, to_network_input
from cxrflow.results import gradcam
from cxrflow.results.gradcam import METHODS, MapLayer, find_map_layer
from tests.models.toy import CONVOLUTIONAL

MAGNIFIED = {"resnet50": 50}  # rounding of an untrained network of 50 layers with the statistics of one batch
SIZE = 64  # the last maps have 2x2 cells; those of at least 7x7 are of an earlier layer
CPU = torch.device("cpu")


def make_images(n: int = 6) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, SIZE, SIZE), dtype=np.uint8)


@pytest.fixture(scope="module", params=CONVOLUTIONAL)
def backbone(request: pytest.FixtureRequest) -> tuple[nn.Module, MapLayer]:
    """Return a network of each backbone with normal activations, and the layer of its maps.

    Fresh running statistics of BatchNorm let EfficientNet's activations fade to 1e-8, so one batch is passed first.
    """
    network = build_network(request.param, 3, batch_norm_momentum=1.0, seed=1)
    torch.manual_seed(1)  # stochastic depth
    with torch.no_grad():
        network.train()(to_network_input(torch.from_numpy(make_images(8))))
    return network.eval(), find_map_layer(network, request.param, SIZE)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Return the name of `backbone`'s network."""
    return request.node.callspec.params["backbone"]


def compute_maps(
    network: nn.Module, layer: MapLayer, images: np.ndarray, targets: list[int], engine: str = "direct"
) -> np.ndarray:
    return np.stack(list(gradcam.iterate_maps(network, layer, images, list(range(len(images))), targets, CPU, engine)))


def map_by_formula(network: nn.Module, layer: MapLayer, images: np.ndarray, targets: list[int]) -> np.ndarray:
    """Return ReLU(sum of w_k A_k) as 0-1 maps.

    w_k is the mean gradient (Selvaraju et al. 2017, eq. 1, 2), or each cell's own where positive (Jiang et al. 2021).
    """
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()  # DenseNet changes it in place

    handle = network.get_submodule(layer.path).register_forward_hook(keep)
    scores = network(to_network_input(torch.from_numpy(images)))
    handle.remove()
    chosen = scores[range(len(targets)), targets].sum()
    (gradient,) = torch.autograd.grad(chosen, kept)
    weights = {"Grad-CAM": gradient.mean((2, 3), keepdim=True), "LayerCAM": functional.relu(gradient)}[layer.method]
    cells = functional.relu((weights * kept[0]).sum(1, keepdim=True)).detach()
    large = functional.interpolate(stretch(cells), (SIZE, SIZE), mode="bilinear", align_corners=False)
    return stretch(large).squeeze(1).numpy()


def stretch(maps: Tensor) -> Tensor:
    low, high = maps.amin((1, 2, 3), keepdim=True), maps.amax((1, 2, 3), keepdim=True)
    return (maps - low) / (high - low).clamp(min=1e-12)


@pytest.mark.parametrize("engine", gradcam.ENGINES)
@pytest.mark.parametrize("method", METHODS)
def test_maps_are_those_of_the_formula(backbone: tuple[nn.Module, MapLayer], engine: str, method: str) -> None:
    network, layer = backbone[0], replace(backbone[1], method=method)
    targets = [0, 1, 2, 0, 1, 2]
    maps = compute_maps(network, layer, make_images(), targets, engine)
    assert maps.shape == (6, SIZE, SIZE)
    assert (maps.max(axis=(1, 2)) > 0.5).sum() >= 4  # the ReLU may leave nothing of one or another
    np.testing.assert_allclose(maps, map_by_formula(network, layer, make_images(), targets), atol=1e-5)


def trace(network: nn.Module, size_px: int) -> dict[str, Tensor]:
    """Return the output of every module of a pass over two images, in the order of their ends."""
    ended: dict[str, Tensor] = {}
    handles = [
        module.register_forward_hook(lambda _m, _i, output, path=path: ended.update({path: output}))
        for path, module in network.named_modules()
    ]
    with torch.no_grad():
        network(torch.rand(2, 3, size_px, size_px))
    for handle in handles:
        handle.remove()
    return ended


# The stage that ends there. Where a block makes maps smaller, it is the block's first step, before it does.
SMALL = {"mobilenet_v3_large": "features.4.block.0", "efficientnet_b1": "features.3.0.block.0", "resnet34": "layer1"}
LAST = {"mobilenet_v3_large": "features", "efficientnet_b1": "features", "resnet34": "layer4"}


@pytest.mark.parametrize(
    ("size_px", "side", "paths", "method"), [(48, 12, SMALL, "LayerCAM"), (224, 7, LAST, "Grad-CAM")]
)
def test_the_layer_is_the_deepest_of_7x7_cells(
    backbone: tuple[nn.Module, MapLayer], name: str, size_px: int, side: int, paths: dict[str, str], method: str
) -> None:
    layer = find_map_layer(backbone[0], name, size_px)
    assert (layer.grid, layer.method, layer.is_scored) == ((side, side), method, True)
    ended = trace(backbone[0], size_px)
    assert ended[layer.path].shape[2:] == layer.grid
    passed_over = ("layer2.0.", "layer3.0.") if name == "resnet50" else ()  # shortcuts lead around these: the next test
    later = [path for path in [*ended][[*ended].index(layer.path) + 1 :] if not path.startswith(passed_over)]
    assert all(ended[path].dim() != 4 or min(ended[path].shape[2:]) < 7 for path in later)
    assert layer.path == paths.get(name, layer.path)


def test_a_layer_that_a_shortcut_leads_around_or_that_runs_again_is_passed_over() -> None:
    network = torchvision.models.resnet50(num_classes=3)  # layer2.0.conv1, its norm and its ReLU keep the 12x12 cells
    assert find_map_layer(network, "resnet50", 48).path == "layer1"


def test_a_named_layer_is_taken_and_not_scored_where_its_cells_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    network = build_network("resnet34", 3, 0.1)
    monkeypatch.setitem(BACKBONES, "resnet34", Backbone("ResNet-34", gradcam_layer="layer3"))
    layer = find_map_layer(network, "resnet34", 96)
    assert layer == MapLayer("layer3", (6, 6), "LayerCAM")
    assert not layer.is_scored
    assert str(layer) == "LayerCAM at layer3, 6x6 cells"
    monkeypatch.setitem(BACKBONES, "resnet34", Backbone("ResNet-34", gradcam_layer="layer9"))
    with pytest.raises(CxrflowError, match="layer9 has maps larger than 1x1"):
        find_map_layer(network, "resnet34", 96)


def test_without_7x7_cells_the_last_maps_are_taken_and_none_where_there_are_no_maps() -> None:
    network = build_network("resnet34", 2, 0.1)
    layer = find_map_layer(network, "resnet34", 12)
    assert (layer.path, layer.grid, layer.is_scored) == ("layer2", (2, 2), False)
    with pytest.raises(CxrflowError, match=r"no layer of resnet34 has maps larger than 1x1 for images of 2 px"):
        find_map_layer(network, "resnet34", 2)


def test_the_network_is_left_as_it_was(backbone: tuple[nn.Module, MapLayer]) -> None:
    network, layer = backbone
    before = {name: value.clone() for name, value in network.state_dict().items()}
    compute_maps(network, layer, make_images(2), [0, 1])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
    assert not network.get_submodule(layer.path)._forward_hooks


def test_batches_and_rows_do_not_change_a_map(
    backbone: tuple[nn.Module, MapLayer], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, layer = backbone
    images, targets = make_images(5), [0, 1, 2, 0, 1]
    whole = compute_maps(network, layer, images, targets)
    monkeypatch.setattr(gradcam, "BATCH_SIZE", 2)
    rows = [4, 0, 3, 2, 1]
    parts = list(gradcam.iterate_maps(network, layer, images, rows, [targets[row] for row in rows], CPU))
    assert len(parts) == 5
    for row, part in zip(rows, parts, strict=True):
        np.testing.assert_allclose(part, whole[row], atol=MAGNIFIED.get(name, 1) * 1e-4)


def test_a_map_that_the_relu_empties_is_0_everywhere() -> None:
    class Negative(nn.Module):
        """Activations of 1 that all lower the score."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Identity()
            self.head = nn.Linear(3, 2, bias=False)
            nn.init.constant_(self.head.weight, -1.0)

        def forward(self, images: Tensor) -> Tensor:
            return self.head(self.layer(images.abs()).mean((2, 3)))

    assert not compute_maps(Negative(), MapLayer("layer", (SIZE, SIZE), "Grad-CAM"), make_images(2), [0, 1]).any()
