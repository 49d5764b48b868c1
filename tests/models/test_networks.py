import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from cxrflow.config.settings import IMAGENET_MEAN, IMAGENET_STD
from cxrflow.models.networks import (
    build_network,
    estimate_batch_norm,
    find_head,
    to_network_input,
)
from tests.models.toy import AT_64_PX, equal_weights

PREDICT = """
import sys
import cxrflow.models.inference, cxrflow.results.explaining
assert not [name for name in sys.modules if name.startswith("torch._dynamo")], "torch's compiler takes two seconds"
import torchvision, torch
assert sys.modules["torchvision.ops.roi_align"].is_compile_supported("mps") is False
assert "torch._dynamo.utils" in sys.modules, "who asks for it gets torch's own"
"""


@pytest.mark.slow
def test_what_predicts_does_not_import_torchs_compiler() -> None:
    scripts = str(Path(__file__).resolve().parents[2] / "scripts")
    subprocess.run([sys.executable, "-c", PREDICT], env={"PYTHONPATH": scripts}, check=True)


def test_seed_draws_the_weights_and_leaves_the_callers_random_state() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one = build_network("tiny", 3, 0.1, seed=1).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    assert equal_weights(one, build_network("tiny", 3, 0.1, seed=1).state_dict())
    assert not equal_weights(one, build_network("tiny", 3, 0.1, seed=2).state_dict())


@pytest.mark.parametrize("name", ["mobilenet_v3_large", "tiny"])
def test_momentum_reaches_every_batch_norm(name: str) -> None:
    network = build_network(name, 3, 0.25)
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms
    assert {norm.momentum for norm in norms} == {0.25}


def test_batch_norm_statistics_are_the_means_over_batches_at_the_weights_as_they_are() -> None:
    """By hand, for two layers: the second sees the first normalized by its batch, and no dropout."""
    first, second = torch.nn.BatchNorm1d(4, momentum=0.25), torch.nn.BatchNorm1d(4, momentum=0.25)
    network = torch.nn.Sequential(first, torch.nn.Dropout(0.5), second)
    first.running_mean.fill_(100)
    batches = torch.randn(3, 8, 4, generator=torch.Generator().manual_seed(0)) * 5 + 2
    estimate_batch_norm(network, iter(batches))
    hidden = (batches - batches.mean(1, keepdim=True)) / (batches.var(1, keepdim=True, correction=0) + 1e-5).sqrt()
    for layer, inputs in ((first, batches), (second, hidden)):
        torch.testing.assert_close(layer.running_mean, inputs.mean(1).mean(0))
        torch.testing.assert_close(layer.running_var, inputs.var(1).mean(0))
    assert {(layer.momentum, layer.training) for layer in (first, second)} == {(0.25, False)}


@pytest.mark.parametrize("name", AT_64_PX)
def test_heads_start_with_small_logits_in_every_backbone(name: str) -> None:
    """The EfficientNet head of torchvision itself would start three classes with weights up to 0.58."""
    network = build_network(name, 3, 0.1)
    head = network.get_submodule(find_head(network, name))
    assert float(head.weight.detach().abs().max()) <= head.in_features**-0.5


def test_input_is_three_gray_channels_normalized_as_imagenet() -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 5, 7), dtype=np.uint8))
    images[0, 0, :2] = torch.tensor([0, 255])
    inputs = to_network_input(images)
    wanted = reference.normalize(
        images.unsqueeze(1).expand(-1, 3, -1, -1).float() / 255, list(IMAGENET_MEAN), list(IMAGENET_STD)
    )
    torch.testing.assert_close(inputs, wanted, rtol=0, atol=1e-6)
    assert inputs.dtype == torch.float32
    assert inputs.is_contiguous(memory_format=torch.channels_last)
