import hashlib
import resource
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cxrflow.config.settings import PreprocessSettings
from cxrflow.errors import CxrflowError
from cxrflow.models.checkpoints import (
    DamagedFileError,
    SavedModel,
    load_checked,
    load_model,
    load_tensors,
    restore_network,
    save_checked,
    save_model,
)
from cxrflow.models.networks import build_network
from tests.models.toy import equal_weights


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


def test_file_is_what_others_can_read(saved: SavedModel, tmp_path: Path) -> None:
    save_model(tmp_path / "model.pt", saved)
    subprocess.run(["sha256sum", "--check", "--quiet", "model.pt.sha256"], cwd=tmp_path, check=True)
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    assert content["format"] == 1
    assert content["preprocess"] == {"size_px": 64, "equalize": True, "blur_px": 0}
    assert content["class_names"] == ["dark", "light"]


def test_restored_network_is_ready_to_predict(saved: SavedModel) -> None:
    network = restore_network(saved)
    assert not network.training
    assert equal_weights(network.state_dict(), saved.state_dict)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_flipped_bit_is_found(saved: SavedModel, tmp_path: Path, share: float) -> None:
    path = tmp_path / "model.pt"
    save_model(path, saved)
    flip_bit(path, int(share * path.stat().st_size))
    with pytest.raises(DamagedFileError, match=r"model.pt is damaged: its SHA-256 is"):
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


def test_files_that_could_run_code_are_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": Payload()}, tmp_path / "evil.pt")
    with pytest.raises(CxrflowError, match="not a file of weights that PyTorch can read"):
        load_tensors(tmp_path / "evil.pt")


@pytest.mark.parametrize("content", [b"", b"<html>log in</html>", b"PK\x03\x04 cut off"])
def test_files_that_hold_no_weights_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    (tmp_path / "x.pt.sha256").write_text(hashlib.sha256(content).hexdigest())
    with pytest.raises(CxrflowError, match="not a file of weights that PyTorch can read"):
        load_checked(tmp_path / "x.pt")


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CxrflowError, match="holds a list; expected a dictionary"):
        load_tensors(tmp_path / "list.pt")


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
