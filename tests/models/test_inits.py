import hashlib
from pathlib import Path

import pytest
import torch
from torch import nn

from cxrflow.config.backbones import BACKBONES
from cxrflow.config.settings import PreprocessSettings
from cxrflow.errors import CxrflowError
from cxrflow.models.checkpoints import SavedModel, load_init, save_model
from cxrflow.models.networks import build_network, find_head
from tests.models.toy import TINY, build_tiny, equal_weights

REAL = [*BACKBONES, "tiny"]


def save_by_hash(folder: Path, weights: dict[str, torch.Tensor]) -> Path:
    """Write a file as torchvision publishes them: a bare state dict, its SHA-256 in its name."""
    torch.save(weights, folder / "new.pth")
    return (folder / "new.pth").rename(
        folder / f"x-{hashlib.sha256((folder / 'new.pth').read_bytes()).hexdigest()[:8]}.pth"
    )


def trained_model(path: Path, backbone: str, dataset: str = "covid", n_classes: int = 5) -> dict[str, torch.Tensor]:
    weights = build_network(backbone, n_classes, 0.1, seed=99).state_dict()
    names = [f"class{i}" for i in range(n_classes)]
    save_model(
        path,
        SavedModel(weights, dataset, backbone, "scratch", "base", 99, names, PreprocessSettings(), 1, 0.5, 0.1),
    )
    return weights


def split_head(
    state: dict[str, torch.Tensor], backbone: str
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    head = find_head(build_network(backbone, 3, 0.1), backbone) + "."
    return (
        {k: v for k, v in state.items() if not k.startswith(head)},
        {k: v for k, v in state.items() if k.startswith(head)},
    )


def changed_copy(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


@pytest.mark.parametrize("backbone", REAL)
def test_transfer_loads_everything_but_the_head(tmp_path: Path, backbone: str) -> None:
    weights = trained_model(tmp_path / "model.pt", backbone)
    network = build_network(backbone, 3, 0.1, seed=0)
    drawn = changed_copy(network)
    load_init(network, backbone, "from_covid", tmp_path / "model.pt")
    body, head = split_head(network.state_dict(), backbone)
    assert equal_weights(body, split_head(weights, backbone)[0])
    assert equal_weights(head, split_head(drawn, backbone)[1])
    assert len(head) == 2


def test_imagenet_weights_load_everything_but_the_head(tmp_path: Path) -> None:
    torch.manual_seed(42)
    published = build_tiny()  # 1000 classes
    path = save_by_hash(tmp_path, published.state_dict())
    network = build_network("tiny", 3, 0.1)
    drawn = changed_copy(network)
    load_init(network, "tiny", "imagenet", path)
    body, head = split_head(network.state_dict(), "tiny")
    assert equal_weights(body, split_head(published.state_dict(), "tiny")[0])
    assert equal_weights(head, split_head(drawn, "tiny")[1])


def test_scratch_leaves_the_drawn_weights() -> None:
    network = build_network("tiny", 3, 0.1)
    drawn = changed_copy(network)
    load_init(network, "tiny", "scratch", None)
    assert equal_weights(network.state_dict(), drawn)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("middle.bias"), r"weights that are missing: 1 \(middle.bias\)"),
        (lambda w: w.update({"extra.weight": torch.zeros(1)}), r"weights that are unknown: 1 \(extra.weight\)"),
        (lambda w: w.update({"middle.bias": torch.zeros(3)}), r"of another shape: 1 \(size mismatch for middle.bias"),
        (lambda w: w.clear(), r"weights that are missing: \d+ \(features.0.weight, .*, \.\.\.\)"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path: Path, change, message: str) -> None:
    weights = dict(build_tiny().state_dict())
    change(weights)
    path = save_by_hash(tmp_path, weights)
    with pytest.raises(CxrflowError, match=message) as caught:
        load_init(build_network("tiny", 3, 0.1), "tiny", "imagenet", path)
    assert str(path) in str(caught.value)


def test_a_file_without_a_head_is_enough(tmp_path: Path) -> None:
    body = split_head(build_tiny().state_dict(), "tiny")[0]
    network = build_network("tiny", 3, 0.1)
    load_init(network, "tiny", "imagenet", save_by_hash(tmp_path, body))
    loaded = network.state_dict()
    assert body
    assert all(torch.equal(loaded[name], value) for name, value in body.items())


def test_another_backbone_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKBONES, "tiny2", TINY)
    trained_model(tmp_path / "model.pt", "tiny2")
    with pytest.raises(CxrflowError, match="is a tiny2, but the model to train is a tiny"):
        load_init(build_network("tiny", 3, 0.1), "tiny", "from_covid", tmp_path / "model.pt")


def test_a_model_of_another_dataset_is_refused(tmp_path: Path) -> None:
    trained_model(tmp_path / "model.pt", "tiny", dataset="xray8")
    with pytest.raises(CxrflowError, match="was trained on xray8, but init from_covid needs"):
        load_init(build_network("tiny", 3, 0.1), "tiny", "from_covid", tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("init", "weights", "message"),
    [
        ("imagenet", None, "add --init-weights FILE"),
        ("scratch", Path("x.pth"), "init is scratch, but init weights are given"),
        ("random", Path("x.pth"), "init is 'random'; known: scratch, imagenet, from_<dataset>"),
        ("imagenet", Path("no-12345678.pth"), "no-12345678.pth does not exist"),
    ],
)
def test_inits_that_cannot_be(init: str, weights: Path | None, message: str) -> None:
    with pytest.raises(CxrflowError, match=message):
        load_init(build_network("tiny", 3, 0.1), "tiny", init, weights)
