"""Grad-CAM of every backbone, against a computation of its own from the paper's formula."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cxrflow.config.backbones import BACKBONES
from cxrflow.models.networks import build_network, find_gradcam_layer, to_network_input
from cxrflow.results import gradcam

SIZE = 64  # maps of 2 x 2 cells
CPU = torch.device("cpu")


def make_images(n: int = 6) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, SIZE, SIZE), dtype=np.uint8)


@pytest.fixture(scope="module", params=BACKBONES)
def backbone(request: pytest.FixtureRequest) -> tuple[nn.Module, str]:
    """Return a network of each backbone with normal activations, and its Grad-CAM layer.

    Fresh running statistics of BatchNorm let EfficientNet's activations fade to 1e-8, so one batch is passed first.
    """
    network = build_network(request.param, 3, batch_norm_momentum=1.0, seed=1)
    torch.manual_seed(1)  # stochastic depth
    with torch.no_grad():
        network.train()(to_network_input(torch.from_numpy(make_images(8))))
    return network.eval(), find_gradcam_layer(network, request.param, SIZE)


def compute_maps(
    network: nn.Module, layer: str, images: np.ndarray, targets: list[int], engine: str = "direct"
) -> np.ndarray:
    return np.stack(list(gradcam.iterate_maps(network, layer, images, list(range(len(images))), targets, CPU, engine)))


def grad_cam_by_formula(network: nn.Module, layer: str, images: np.ndarray, targets: list[int]) -> np.ndarray:
    """Return ReLU(sum of alpha_k A_k), alpha_k the mean gradient (Selvaraju et al. 2017, eq. 1 and 2), as 0-1 maps."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()  # DenseNet changes it in place

    handle = network.get_submodule(layer).register_forward_hook(keep)
    scores = network(to_network_input(torch.from_numpy(images)))
    handle.remove()
    chosen = scores[range(len(targets)), targets].sum()
    (gradient,) = torch.autograd.grad(chosen, kept)
    cells = functional.relu((gradient.mean((2, 3), keepdim=True) * kept[0]).sum(1, keepdim=True)).detach()
    large = functional.interpolate(stretch(cells), (SIZE, SIZE), mode="bilinear", align_corners=False)
    return stretch(large).squeeze(1).numpy()


def stretch(maps: Tensor) -> Tensor:
    low, high = maps.amin((1, 2, 3), keepdim=True), maps.amax((1, 2, 3), keepdim=True)
    return (maps - low) / (high - low).clamp(min=1e-12)


@pytest.mark.parametrize("engine", gradcam.ENGINES)
def test_maps_are_those_of_the_formula(backbone: tuple[nn.Module, str], engine: str) -> None:
    network, layer = backbone
    targets = [0, 1, 2, 0, 1, 2]
    maps = compute_maps(network, layer, make_images(), targets, engine)
    assert maps.shape == (6, SIZE, SIZE)
    assert (maps.max(axis=(1, 2)) > 0.5).sum() >= 4  # the ReLU may leave nothing of one or another
    np.testing.assert_allclose(maps, grad_cam_by_formula(network, layer, make_images(), targets), atol=1e-5)


def test_the_network_is_left_as_it_was(backbone: tuple[nn.Module, str]) -> None:
    network, layer = backbone
    before = {name: value.clone() for name, value in network.state_dict().items()}
    compute_maps(network, layer, make_images(2), [0, 1])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
    assert not network.get_submodule(layer)._forward_hooks


def test_batches_and_rows_do_not_change_a_map(backbone: tuple[nn.Module, str], monkeypatch: pytest.MonkeyPatch) -> None:
    network, layer = backbone
    images, targets = make_images(5), [0, 1, 2, 0, 1]
    whole = compute_maps(network, layer, images, targets)
    monkeypatch.setattr(gradcam, "BATCH_SIZE", 2)
    rows = [4, 0, 3, 2, 1]
    parts = list(gradcam.iterate_maps(network, layer, images, rows, [targets[row] for row in rows], CPU))
    assert len(parts) == 5
    for row, part in zip(rows, parts, strict=True):
        np.testing.assert_allclose(part, whole[row], atol=1e-4)


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

    assert not compute_maps(Negative(), "layer", make_images(2), [0, 1]).any()
