"""Files of tensors, checked when read: model.pt, and the weights that a network starts from.

torch.load checks no checksum: one flipped bit loads silently as wrong weights. So each file x.pt has a sidecar
x.pt.sha256, written before it: a file without one was not written here. Loaded with weights_only, which runs no code.
"""

import dataclasses
import io
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cxrflow.config.layout import FROM_DATASET, IMAGENET, SCRATCH
from cxrflow.config.settings import PreprocessSettings, parse_settings, settings_dict
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import sha256_file, write_atomically, write_text
from cxrflow.models.networks import build_network, find_head
from cxrflow.models.weights import check_weights

MODEL_FORMAT = 1


class DamagedFileError(CxrflowError):
    """A file is not what its checksum says."""


@dataclass(frozen=True)
class SavedModel:
    """model.pt: a trained network and what its user must know.

    Attributes:
        state_dict: of the network, on the CPU.
        dataset, backbone, init, variant, seed: which model it is.
        class_names: alphabetical, one per output of the head.
        preprocess: how its images were made.
        epoch: the kept one, from 1.
        val_loss: of that epoch.
        batch_norm_momentum: that it was trained with.
    """

    state_dict: dict[str, Tensor]
    dataset: str
    backbone: str
    init: str
    variant: str
    seed: int
    class_names: list[str]
    preprocess: PreprocessSettings
    epoch: int
    val_loss: float
    batch_norm_momentum: float


def checksum_path(path: Path) -> Path:
    """Return the sidecar of a file: model.pt -> model.pt.sha256."""
    return path.with_name(path.name + ".sha256")


def save_checked(path: Path, value: dict[str, Any]) -> None:
    """Write plain values and tensors with torch.save; the checksum first, so that every file has one.

    The sidecar has the form that `sha256sum --check` reads. Equal values give equal bytes.

    Raises:
        OSError: the disk is full, and the like. torch.save itself would raise a RuntimeError without a reason then, so
            it writes to memory.
    """
    buffer = io.BytesIO()
    torch.save(value, buffer)
    with write_atomically(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())
        write_text(checksum_path(path), f"{sha256_file(temporary)}  {path.name}\n")


def load_checked(path: Path) -> dict[str, Any]:
    """Read what `save_checked` wrote, tensors on the CPU.

    Raises:
        DamagedFileError: the content is not what the checksum says.
        CxrflowError: the file or its checksum is missing.
    """
    if not path.is_file():
        raise CxrflowError(f"{path} does not exist: make it first (`snakemake {path}`)")
    sidecar = checksum_path(path)
    if not sidecar.is_file():
        raise CxrflowError(
            f"{sidecar} does not exist, so {path.name} cannot be checked: copy both files, or train again"
        )
    expected = sidecar.read_text(encoding="utf-8").split()[:1]
    actual = sha256_file(path)
    if expected != [actual]:
        raise DamagedFileError(
            f"{path} is damaged: its SHA-256 is {actual[:12]}..., and {sidecar.name} says {''.join(expected)[:12]}...: "
            "copy it again, or delete both and train again"
        )
    return load_tensors(path)


def load_tensors(path: Path) -> dict[str, Any]:
    """Read a file of torch.save, without its checksum, tensors on the CPU.

    Raises:
        CxrflowError: it is not such a file, or holds something other than plain values and tensors.
    """
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CxrflowError(f"{path} does not exist") from None
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise CxrflowError(
            f"{path} is not a file of weights that PyTorch can read ({_first_sentence(error)})"
        ) from None
    if not isinstance(value, dict):
        raise CxrflowError(f"{path} holds a {type(value).__name__}; expected a dictionary of weights")
    return value


def _first_sentence(error: Exception) -> str:
    """Return the start of what PyTorch says: the rest is advice to load without checks."""
    return (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0]


def save_model(path: Path, model: SavedModel) -> None:
    """Write model.pt.sha256, then model.pt."""
    plain = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}
    save_checked(path, {"format": MODEL_FORMAT, **plain, "preprocess": settings_dict(model.preprocess)})


def load_model(path: Path) -> SavedModel:
    """Read model.pt and check it against model.pt.sha256.

    Raises:
        CxrflowError: it is missing, damaged, of another format, or lacks its checksum.
    """
    content = load_checked(path)
    if content.get("format") != MODEL_FORMAT:
        raise CxrflowError(
            f"{path} has format {content.get('format')!r}, and this cxrflow reads {MODEL_FORMAT}: "
            "use the version of cxrflow that wrote it"
        )
    names = [field.name for field in dataclasses.fields(SavedModel)]
    missing = [name for name in names if name not in content]
    if missing:
        raise CxrflowError(f"{path} is not a model of cxrflow: it lacks {', '.join(missing)}")
    preprocess = parse_settings(PreprocessSettings, content["preprocess"], f"{path}: preprocess")
    return SavedModel(**{**{name: content[name] for name in names}, "preprocess": preprocess})


def restore_network(model: SavedModel) -> nn.Module:
    """Build the network of a saved model, on the CPU, in eval mode."""
    network = build_network(model.backbone, len(model.class_names), model.batch_norm_momentum)
    network.load_state_dict(model.state_dict)
    return network.eval()


def load_init(network: nn.Module, backbone: str, init: str, weights: Path | None) -> None:
    """Load what a network starts from, in place: random weights, ImageNet's, or those trained on another dataset.

    All but the head is loaded; the head keeps its random weights, because its classes are others.

    Args:
        network: from `build_network`.
        backbone: its name.
        init: `scratch`, `imagenet`, or `from_<dataset>`.
        weights: none for scratch; torchvision's file for imagenet; that dataset's model.pt for from_<dataset>.

    Raises:
        CxrflowError: the file does not fit the init, the backbone or its own checksum.
    """
    if init == SCRATCH:
        if weights is not None:
            raise CxrflowError(
                f"init is scratch, but init weights are given ({weights}): leave them out, or name their init"
            )
        return
    if weights is None:
        raise CxrflowError(f"init is {init}, but no init weights are given: add --init-weights FILE")
    if init == IMAGENET:
        check_weights(weights)
        load_all_but_head(network, backbone, load_tensors(weights), weights)
    elif init.startswith(FROM_DATASET):
        load_all_but_head(network, backbone, _read_trained_weights(weights, backbone, init), weights)
    else:
        raise CxrflowError(f"init is {init!r}; known: {SCRATCH}, {IMAGENET}, {FROM_DATASET}<dataset>")


def _read_trained_weights(path: Path, backbone: str, init: str) -> dict[str, Any]:
    source = load_model(path)
    wanted = init.removeprefix(FROM_DATASET)
    if source.backbone != backbone:
        raise CxrflowError(
            f"{path} is a {source.backbone}, but the model to train is a {backbone}: a transfer needs the same backbone"
        )
    if source.dataset != wanted:
        raise CxrflowError(f"{path} was trained on {source.dataset}, but init {init} needs a model trained on {wanted}")
    return dict(source.state_dict)


def load_all_but_head(network: nn.Module, backbone: str, weights: Mapping[str, Any], path: Path) -> None:
    """Load weights into all layers but the head, every one of them.

    Args:
        network: of this backbone.
        backbone: a name in BACKBONES.
        weights: a state dict of the same layers; its head may have any number of classes.
        path: of its file, for messages.

    Raises:
        CxrflowError: layers are missing, unknown or of another shape.
    """
    head = find_head(network, backbone) + "."
    body = {name: value for name, value in weights.items() if not name.startswith(head)}
    try:
        outcome = network.load_state_dict(body, strict=False)
    except RuntimeError as error:  # PyTorch lists the tensors whose shapes differ
        shapes = [line.strip() for line in str(error).splitlines()[1:]]
        raise CxrflowError(_misfit(path, backbone, "of another shape", shapes)) from None
    missing = [name for name in outcome.missing_keys if not name.startswith(head)]
    if missing:
        raise CxrflowError(_misfit(path, backbone, "missing", missing))
    if outcome.unexpected_keys:
        raise CxrflowError(_misfit(path, backbone, "unknown", list(outcome.unexpected_keys)))


def _misfit(path: Path, backbone: str, what: str, names: list[str]) -> str:
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{path} does not fit {backbone}: weights that are {what}: {len(names)} ({shown})"
