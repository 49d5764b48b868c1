"""Every line of the table of backbones, against torchvision and against the network it builds."""

import pytest
import torch
import torchvision

from cxrflow.config.backbones import BACKBONES
from cxrflow.models.cost import count_params
from cxrflow.models.networks import build_network, forward_with_features

REAL = list(BACKBONES)


@pytest.mark.parametrize("name", REAL)
def test_published_numbers_are_those_of_torchvision(name: str) -> None:
    entry = BACKBONES[name]
    weights = torchvision.models.get_model_weights(entry.torchvision_name)[entry.weights_name]
    assert weights.url.rsplit("/", 1)[1] == entry.weights_file
    assert weights.meta["_metrics"]["ImageNet-1K"]["acc@5"] == entry.imagenet_top5
    assert weights.meta["num_params"] / 1e6 == pytest.approx(entry.reported_params_m, abs=0.1)
    network = torchvision.models.get_model(entry.torchvision_name, weights=None)
    assert count_params(network) == weights.meta["num_params"]


@pytest.mark.parametrize("name", REAL)
def test_paths_lead_to_the_head_and_to_a_layer_with_spatial_extent(name: str) -> None:
    entry = BACKBONES[name]
    network = build_network(name, 4, 0.1).eval()
    head = network.get_submodule(entry.head)
    assert isinstance(head, torch.nn.Linear)
    assert (head.in_features, head.out_features) == (entry.n_features, 4)

    maps = []
    network.get_submodule(entry.gradcam_layer).register_forward_hook(lambda _m, _i, output: maps.append(output))
    with torch.no_grad():
        logits, features = forward_with_features(network, name, torch.rand(2, 3, 64, 64))
    assert logits.shape == (2, 4)
    assert features.shape == (2, entry.n_features)
    assert [each.shape[0] for each in maps] == [2]
    assert maps[0].shape[2:] == (2, 2)  # 64 px / 32


@pytest.mark.parametrize("name", REAL)
def test_last_layer_with_spatial_extent_is_the_one_named(name: str) -> None:
    """Grad-CAM is taken from the last map before pooling: what is pooled is that layer's output."""
    entry = BACKBONES[name]
    network = build_network(name, 4, 0.1).eval()
    seen = {}
    network.get_submodule(entry.gradcam_layer).register_forward_hook(lambda _m, _i, output: seen.update(map=output))
    network.avgpool.register_forward_pre_hook(lambda _m, inputs: seen.update(pooled=inputs[0]))
    with torch.no_grad():
        network(torch.rand(1, 3, 64, 64))
    assert seen["map"] is seen["pooled"]
