"""Every entry of the table of backbones, from its first weights to its profile.

Its maps are tested in tests/results/test_gradcam.py, its export in tests/deliver/test_exporting.py.
"""

import math

import numpy as np
import pytest
import torch
import torchvision

from cxrflow.config.backbones import BACKBONES, Backbone
from cxrflow.config.settings import TrainSettings
from cxrflow.errors import CxrflowError
from cxrflow.models import cost
from cxrflow.models.cost import count_params, measure_speed
from cxrflow.models.epochs import run_epoch
from cxrflow.models.inference import predict
from cxrflow.models.networks import build_network, build_published, find_head, fit_to_size
from cxrflow.models.training import Training
from tests.models.toy import AT_64_PX, CPU, equal_weights, toy_data, toy_training

SIZE_PX = 64
SETTINGS = TrainSettings(epochs=2, batch_size=4)
DATA = toy_data(n_train=4, n_val=2, n_test=1, size_px=SIZE_PX)
HEADS = {"mobilenet_v3_large": "classifier.3", "efficientnet_b1": "classifier.1", "resnet34": "fc"}


@pytest.fixture(scope="module", params=AT_64_PX)
def trained(request: pytest.FixtureRequest) -> tuple[str, Training]:
    """Train each backbone for one epoch, which is one step."""
    torch.set_num_threads(1)  # this fixture comes before the one that sets them for every test
    training = toy_training(SETTINGS, DATA, backbone=request.param)
    run_epoch(training, 1)
    return request.param, training


@pytest.mark.parametrize("name", AT_64_PX)
def test_figures_are_those_of_the_library(name: str) -> None:
    entry, network = BACKBONES[name], build_published(name)
    momenta = {norm.momentum for norm in network.modules() if isinstance(norm, torch.nn.BatchNorm2d)}
    assert momenta == {entry.batch_norm_momentum} - {None}
    if entry.imagenet:
        weights = torchvision.models.get_model_weights(name)[entry.imagenet.name]
        assert weights.url.rsplit("/", 1)[1] == entry.imagenet.file
        assert weights.meta["_metrics"]["ImageNet-1K"]["acc@5"] == entry.imagenet.top5
        assert count_params(network) == weights.meta["num_params"]
    if entry.paper:
        assert count_params(network) / 1e6 == pytest.approx(entry.paper.params_m, abs=0.1)


def test_a_step_changes_every_weight(trained: tuple[str, Training]) -> None:
    name, training = trained
    first = fit_to_size(build_network(name, 2, SETTINGS.batch_norm_momentum), name, SIZE_PX).state_dict()
    assert math.isfinite(training.history[0].train_loss)
    assert not [key for key, value in training.network.named_parameters() if torch.equal(first[key], value)]
    assert {value.dtype for value in training.best.state_dict.values()} <= {torch.float32, torch.int64}


def test_a_restored_training_takes_the_same_next_step(trained: tuple[str, Training]) -> None:
    name, training = trained
    resumed, again = (toy_training(SETTINGS, DATA, seed=0, backbone=name) for _ in range(2))
    run_epoch(again, 1)
    resumed.restore(training.state())
    run_epoch(resumed, 2)
    run_epoch(again, 2)
    assert equal_weights(resumed.network.state_dict(), again.network.state_dict())


def test_predictions_have_the_form_of_the_head(trained: tuple[str, Training]) -> None:
    name, training = trained
    head = training.network.get_submodule(find_head(training.network, name))
    rows = np.arange(3)
    probabilities, features = predict(training.network, name, DATA.images, rows, device=CPU, batch_size=2)
    assert isinstance(head, torch.nn.Linear)
    assert (head.out_features, probabilities.shape, features.shape) == (2, (3, 2), (3, head.in_features))
    with torch.no_grad():
        torch.testing.assert_close(head(torch.from_numpy(features)).double().softmax(1).numpy(), probabilities)
    assert not head._forward_pre_hooks  # the hook that took the features is gone


def test_the_head_is_found(trained: tuple[str, Training]) -> None:
    name, training = trained
    assert find_head(training.network, name) == HEADS.get(name, find_head(training.network, name))


def test_a_profile_measures_training_and_inference(
    monkeypatch: pytest.MonkeyPatch, trained: tuple[str, Training]
) -> None:
    monkeypatch.setattr(cost, "ROUNDS", 1)
    speed = measure_speed(trained[0], SIZE_PX, 2, "float32", CPU, threads=1)
    assert speed["training"].keys() == speed["inference"].keys() - {"energy_j"}
    assert 0 < speed["training"]["images_per_s"] < speed["inference"]["images_per_s"]


def test_a_gpu_with_too_little_memory_is_measured_with_smaller_batches(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def time_batches(_backbone: str, _size_px: int, batch_size: int, *_: object) -> tuple[float, float, None]:
        if batch_size > fits:
            raise torch.OutOfMemoryError
        return 2.0, 1.0, None

    monkeypatch.setattr(cost, "_time_batches", time_batches)
    fits = 9
    speed = measure_speed("tiny", SIZE_PX, 32, "float32", CPU, threads=1)
    assert (speed["training"]["images_per_s"], speed["inference"]["batch_size"]) == (4.0, 8)
    assert "too little memory for 16 images: measuring with half" in capsys.readouterr().out
    fits = 1
    with pytest.raises(torch.OutOfMemoryError):
        measure_speed("tiny", SIZE_PX, 32, "float32", CPU, threads=1)


@pytest.mark.parametrize("head", [None, "features", "nothing"])
def test_a_network_without_the_head_is_refused(monkeypatch: pytest.MonkeyPatch, head: str | None) -> None:
    monkeypatch.setitem(BACKBONES, "squeezenet1_1", Backbone("SqueezeNet", head=head))
    with pytest.raises(CxrflowError, match=r"squeezenet1_1 has no linear layer .* its linear layers: none\. Name one"):
        build_network("squeezenet1_1", 2, 0.1)


def test_a_named_head_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKBONES, "alexnet", Backbone("AlexNet", head="classifier.4"))
    network = build_network("alexnet", 2, 0.1)
    assert (network.classifier[4].out_features, network.classifier[6].out_features) == (2, 1000)


def test_a_name_unknown_to_torchvision_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKBONES, "resnet35", Backbone("ResNet-35"))
    with pytest.raises(CxrflowError, match=r"torchvision .* has no network of this name: Unknown model resnet35"):
        build_network("resnet35", 2, 0.1)
