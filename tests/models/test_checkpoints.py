"""Files of tensors, and what a network starts from."""

import hashlib
import resource
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cxrflow.config.backbones import BACKBONES
from cxrflow.config.parsing import settings_dict
from cxrflow.config.settings import PreprocessSettings
from cxrflow.errors import CxrflowError
from cxrflow.models.checkpoints import (
    SavedModel,
    load_checked,
    load_init,
    load_model,
    load_tensors,
    restore_network,
    save_checked,
    save_model,
)
from cxrflow.models.networks import build_network, find_head
from tests.models.toy import AT_64_PX, TINY, build_tiny, equal_weights


@pytest.fixture
def saved() -> SavedModel:
    return SavedModel(
        state_dict=build_network("tiny", 2, 0.2, seed=3).state_dict(),
        dataset="covid",
        backbone="tiny",
        init="scratch",
        variant="base",
        seed=3,
        class_names=["dark", "light"],
        preprocess=PreprocessSettings(size_px=64, blur_px=0),
        epoch=7,
        val_loss=0.25,
        batch_norm_momentum=0.2,
    )


def flip_bit(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_model_comes_back_as_it_was(saved: SavedModel, tmp_path: Path) -> None:
    save_model(tmp_path / "model.pt", saved)
    loaded = load_model(tmp_path / "model.pt")
    assert equal_weights(loaded.state_dict, saved.state_dict)
    assert replace(loaded, state_dict={}) == replace(saved, state_dict={})
    network = restore_network(loaded)
    assert not network.training
    assert equal_weights(network.state_dict(), saved.state_dict)


def test_file_is_what_others_can_read(saved: SavedModel, tmp_path: Path) -> None:
    save_model(tmp_path / "model.pt", saved)
    subprocess.run(["sha256sum", "--check", "--quiet", "model.pt.sha256"], cwd=tmp_path, check=True)
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    assert content["format"] == 1
    assert content["preprocess"] == settings_dict(PreprocessSettings(size_px=64, blur_px=0))
    assert content["class_names"] == ["dark", "light"]


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_flipped_bit_is_found(saved: SavedModel, tmp_path: Path, share: float) -> None:
    path = tmp_path / "model.pt"
    save_model(path, saved)
    flip_bit(path, int(share * path.stat().st_size))
    with pytest.raises(CxrflowError, match=r"model.pt is damaged: its SHA-256 is"):
        load_model(path)


def test_missing_file_and_missing_checksum_are_told_apart(saved: SavedModel, tmp_path: Path) -> None:
    with pytest.raises(CxrflowError, match=r"model.pt does not exist"):
        load_model(tmp_path / "model.pt")
    save_model(tmp_path / "model.pt", saved)
    (tmp_path / "model.pt.sha256").unlink()
    with pytest.raises(CxrflowError, match=r"model.pt.sha256 does not exist, so model.pt cannot be checked"):
        load_model(tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("content", "message"), [({"format": 2}, "has format 2"), ({"format": 1, "epoch": 3}, "lacks state_dict, dataset")]
)
def test_other_contents_are_refused(tmp_path: Path, content: dict[str, int], message: str) -> None:
    save_checked(tmp_path / "model.pt", content)
    with pytest.raises(CxrflowError, match=message):
        load_model(tmp_path / "model.pt")


class Payload:
    """What a hostile pickle would be; plain torch.load(weights_only=False) would build it."""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": Payload()}, "not a file of weights that PyTorch can read"),
        ([1, 2], "holds a list; expected a dictionary"),
    ],
)
def test_files_that_could_run_code_or_hold_something_else_are_refused(
    tmp_path: Path, content: object, message: str
) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(CxrflowError, match=message):
        load_tensors(tmp_path / "x.pt")


@pytest.mark.parametrize("content", [b"", b"<html>log in</html>", b"PK\x03\x04 cut off"])
def test_files_that_hold_no_weights_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    (tmp_path / "x.pt.sha256").write_text(hashlib.sha256(content).hexdigest())
    with pytest.raises(CxrflowError, match="not a file of weights that PyTorch can read"):
        load_checked(tmp_path / "x.pt")


def test_a_file_that_does_not_fit_is_an_error_of_the_system_with_a_reason(saved: SavedModel, tmp_path: Path) -> None:
    """torch.save says `unexpected pos 64 vs 0` when a disk is full, and no user can do anything with that."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            save_model(tmp_path / "model.pt", saved)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(tmp_path.iterdir())


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
        SavedModel(
            weights, dataset, backbone, "scratch", "base", 99, names, PreprocessSettings(size_px=224), 1, 0.5, 0.1
        ),
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


def assert_body_alone_is_loaded(backbone: str, init: str, path: Path, weights: dict[str, torch.Tensor]) -> None:
    network = build_network(backbone, 3, 0.1, seed=0)
    drawn = {name: value.clone() for name, value in network.state_dict().items()}
    load_init(network, backbone, init, path)
    body, head = split_head(network.state_dict(), backbone)
    assert equal_weights(body, split_head(weights, backbone)[0])
    assert equal_weights(head, split_head(drawn, backbone)[1])
    assert len(head) == 2


@pytest.mark.parametrize("backbone", [*AT_64_PX, "tiny"])
def test_transfer_loads_everything_but_the_head(tmp_path: Path, backbone: str) -> None:
    weights = trained_model(tmp_path / "model.pt", backbone)
    assert_body_alone_is_loaded(backbone, "from_covid", tmp_path / "model.pt", weights)


@pytest.mark.parametrize("has_head", [True, False])
def test_imagenet_weights_load_everything_but_the_head_which_may_be_absent(tmp_path: Path, has_head: bool) -> None:
    published = build_tiny().state_dict()  # 1000 classes
    weights = published if has_head else split_head(published, "tiny")[0]
    assert_body_alone_is_loaded("tiny", "imagenet", save_by_hash(tmp_path, weights), weights)


def test_scratch_leaves_the_drawn_weights() -> None:
    network = build_network("tiny", 3, 0.1, seed=1)
    load_init(network, "tiny", "scratch", None)
    assert equal_weights(network.state_dict(), build_network("tiny", 3, 0.1, seed=1).state_dict())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("middle.bias"), r'does not fit tiny: Missing key.* "middle.bias"\.'),
        (lambda w: w.update({"extra.weight": torch.zeros(1)}), r'does not fit tiny: Unexpected key.* "extra.weight"\.'),
        (lambda w: w.update({"middle.bias": torch.zeros(3)}), r"does not fit tiny: size mismatch for middle.bias"),
        (lambda w: w.clear(), r'Missing key.* "features.0.weight", .* \[\.\.\.\]$'),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path: Path, change, message: str) -> None:
    weights = dict(build_tiny().state_dict())
    change(weights)
    path = save_by_hash(tmp_path, weights)
    with pytest.raises(CxrflowError, match=message) as caught:
        load_init(build_network("tiny", 3, 0.1), "tiny", "imagenet", path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("backbone", "dataset", "message"),
    [
        ("tiny2", "covid", "is a tiny2, but the model to train is a tiny"),
        ("tiny", "xray8", "was trained on xray8, but init from_covid needs"),
    ],
)
def test_a_model_of_another_backbone_or_dataset_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbone: str, dataset: str, message: str
) -> None:
    monkeypatch.setitem(BACKBONES, "tiny2", TINY)
    trained_model(tmp_path / "model.pt", backbone, dataset)
    with pytest.raises(CxrflowError, match=message):
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
