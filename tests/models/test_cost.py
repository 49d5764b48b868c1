import pytest
import torchvision

from cxrflow.models.cost import count_gmac, count_layers
from tests.models.toy import build_tiny


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
