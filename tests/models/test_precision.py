"""How far the settings and shortcuts that speed a network up move its probabilities."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cxrflow.models.networks import build_network, fit_to_size, to_network_input
from tests.models.toy import AT_64_PX

ROUNDING = 1e-5  # float32 sums in another order; the largest seen was 3e-6
EIGHT_BITS = 0.1  # bfloat16 keeps 8 bits of a number; seen: 0.001 MobileNet, 0.04 EfficientNet, 0.01 ResNet-34
# ResNet-50 with the statistics of one batch of noise magnifies rounding: its float32 differs from float64 by 2.5e-5,
# where that of the others does by at most 3e-6.
MAGNIFIED = {"resnet50": 3}


def answer(network: nn.Module, inputs: Tensor, precision: torch.dtype = torch.float32) -> Tensor:
    """Return probabilities, float64 (8, 3)."""
    with torch.inference_mode(), torch.autocast("cpu", precision, enabled=precision != torch.float32):
        return network(inputs).double().softmax(dim=1)


@pytest.mark.parametrize("name", AT_64_PX)
def test_layout_and_threads_move_probabilities_by_rounding_and_bfloat16_by_its_eight_bits(name: str) -> None:
    inputs = to_network_input(torch.from_numpy(np.random.default_rng(0).integers(0, 256, (8, 64, 64), dtype=np.uint8)))
    network = fit_to_size(build_network(name, 3, batch_norm_momentum=1.0, seed=1), name, 64)
    torch.manual_seed(1)
    with torch.no_grad():
        network.train()(inputs)  # a BatchNorm that has seen images tells one from the next
    expected = answer(network.eval(), inputs)
    plain = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    times = MAGNIFIED.get(name, 1)
    torch.testing.assert_close(answer(plain, inputs.contiguous()), expected, rtol=0, atol=times * ROUNDING)
    torch.set_num_threads(2)
    torch.testing.assert_close(answer(network, inputs), expected, rtol=0, atol=times * ROUNDING)
    moved = (answer(network, inputs, torch.bfloat16) - expected).abs().max()
    assert ROUNDING < moved < times * EIGHT_BITS
