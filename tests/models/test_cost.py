import json

import pytest
import torchvision

from cxrflow.models.cost import count_gmac, count_layers, count_params, profile_backbone
from tests.models.toy import CPU, build_tiny


@pytest.mark.parametrize(
    ("name", "gmac"), [("mobilenet_v3_large", 0.2166), ("efficientnet_b1", 0.5697), ("resnet34", 3.664)]
)
def test_multiply_adds_are_those_of_another_counter(name: str, gmac: float) -> None:
    """Figures of torchinfo, which counts by other means, at 224 px."""
    network = torchvision.models.get_model(name, weights=None).eval()
    assert count_gmac(network, 224) == pytest.approx(gmac, rel=2e-3)


def test_layers_are_convolutions_and_linear_layers() -> None:
    assert count_layers(build_tiny()) == 4
    assert count_layers(torchvision.models.get_model("resnet34", weights=None)) == 34 + 3  # 3 shortcuts


def test_profile_is_whole_and_plain() -> None:
    cost = json.loads(json.dumps(profile_backbone("tiny", 16, CPU, repeats=5, threads=1), allow_nan=False))
    assert cost["params"] == count_params(build_tiny())
    assert cost["gmac_batch"] == cost["gmac"] * cost["batch"] == cost["gmac"] * 32
    assert 0 < cost["latency_ms"]["low"] <= cost["latency_ms"]["median"] <= cost["latency_ms"]["high"]
    assert cost["weights_mib"] == cost["params"] * 4 / 2**20
    assert cost["device_name"]
