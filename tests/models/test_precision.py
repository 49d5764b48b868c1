"""How far the settings and shortcuts that speed a network up move its probabilities."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cxrflow.config.backbones import BACKBONES
from cxrflow.models.networks import build_network, to_network_input

ROUNDING = 1e-5  # float32 sums in another order; the largest seen was 3e-6
EIGHT_BITS = 0.1  # bfloat16 keeps 8 bits of a number; seen: 0.001 MobileNet, 0.04 EfficientNet, 0.01 ResNet


@pytest.fixture(scope="module", params=BACKBONES)
def network(request: pytest.FixtureRequest) -> nn.Module:
    """Return a network whose BatchNorm has seen images, so that its probabilities differ from one to the next."""
    network = build_network(request.param, 3, batch_norm_momentum=1.0, seed=1)
    torch.manual_seed(1)
    with torch.no_grad():
        network.train()(make_inputs())
    return network.eval()


def make_inputs() -> Tensor:
    images = np.random.default_rng(0).integers(0, 256, (8, 64, 64), dtype=np.uint8)
    return to_network_input(torch.from_numpy(images))


def answer(network: nn.Module, inputs: Tensor, precision: torch.dtype = torch.float32) -> Tensor:
    """Return probabilities, float64 (8, 3)."""
    with torch.inference_mode(), torch.autocast("cpu", precision, enabled=precision != torch.float32):
        return network(inputs).double().softmax(dim=1)


def largest_move(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())


def test_memory_format_moves_probabilities_by_rounding_alone(network: nn.Module) -> None:
    plain = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    assert largest_move(answer(network, make_inputs()), answer(plain, make_inputs().contiguous())) < ROUNDING


def test_threads_move_probabilities_by_rounding_alone(network: nn.Module) -> None:
    before = torch.get_num_threads()
    try:
        answers = [(torch.set_num_threads(count), answer(network, make_inputs()))[1] for count in (1, 2)]
    finally:
        torch.set_num_threads(before)
    assert largest_move(*answers) < ROUNDING


def test_bfloat16_moves_probabilities_by_its_eight_bits(network: nn.Module) -> None:
    moved = largest_move(answer(network, make_inputs()), answer(network, make_inputs(), torch.bfloat16))
    assert ROUNDING < moved < EIGHT_BITS
