"""One training in several processes, on the CPU with gloo, against the same training in one."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cxrflow.config.backbones import BACKBONES
from cxrflow.errors import CxrflowError
from cxrflow.models import distributed
from cxrflow.models.launch import run_ranks
from cxrflow.models.ranks import Ranks
from cxrflow.models.synchronized import synchronize_layers
from cxrflow.models.training import Training
from tests.models import rank_tasks

REAL = [name for name in BACKBONES if name != "tiny"]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Train everything in three processes; what they compare among themselves fails here."""
    folder = tmp_path_factory.mktemp("ranks")
    run_ranks(3, "gloo", rank_tasks.train_everything, {"folder": folder})
    return {path.stem: torch.load(path) for path in folder.glob("*.pt")}


def check_equal(one: Training, other: dict[str, Any], rtol: float) -> None:
    for name, values in rank_tasks.curves(one).items():
        np.testing.assert_allclose(other["curves"][name], values, rtol=rtol, err_msg=name)
    assert other["weights"].keys() == one.network.state_dict().keys()


def test_curves_agree_where_batches_cannot_be_divided_evenly(together: dict[str, dict[str, Any]]) -> None:
    """In float32; the last batch leaves one process without rows. Measured: 1e-7."""
    alone = rank_tasks.train_tiny()
    check_equal(alone, together["tiny"], rtol=1e-5)
    for name, value in alone.network.state_dict().items():
        torch.testing.assert_close(together["tiny"]["weights"][name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("backbone", REAL)
def test_curves_of_every_backbone_agree_to_rounding(backbone: str, together: dict[str, dict[str, Any]]) -> None:
    """Measured: 1e-11. A dropout mask, a BatchNorm or a loss of the wrong rows moves the third digit."""
    check_equal(rank_tasks.train_in_float64(backbone), together[backbone], rtol=1e-8)


def test_bfloat16_trains_together(together: dict[str, dict[str, Any]]) -> None:
    losses = rank_tasks.curves(rank_tasks.train_tiny())["train_loss"]
    np.testing.assert_allclose(together["bfloat16"]["curves"]["train_loss"], losses, rtol=0.05)


def test_fewer_gpus_than_asked_for_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for device in ("auto", "cuda"):
        with pytest.raises(CxrflowError, match=r"compute.gpus is 2, and PyTorch sees 1 on .*set compute.gpus to 1"):
            distributed.choose_backend(2, device)
    assert distributed.choose_backend(2, "cpu") == "gloo"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert distributed.choose_backend(2, "auto") == "nccl"


@pytest.mark.parametrize("layer", [nn.AlphaDropout(), nn.RReLU(), nn.BatchNorm2d(3, affine=False)])
def test_a_layer_that_cannot_be_divided_stops(layer: nn.Module) -> None:
    with pytest.raises(CxrflowError, match=r"layer 1 .* cannot be divided between GPUs: set compute.gpus to 1"):
        synchronize_layers(nn.Sequential(nn.ReLU(), layer), Ranks())
