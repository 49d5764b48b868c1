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
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor, nn

from cxrflow.config.layout import FROM_DATASET, FROM_WEIGHTS, IMAGENET, SCRATCH
from cxrflow.config.parsing import parse_settings, settings_dict
from cxrflow.config.settings import PreprocessSettings
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import check_unchanged, sha256_file, write_atomically, write_text
from cxrflow.models.networks import build_network, find_head, fit_to_size
from cxrflow.models.weights import check_weights

MODEL_FORMAT = 1


@dataclass(frozen=True)
class SavedModel:
    """model.pt: a trained network and what its user must know."""

    state_dict: dict[str, Tensor]  # on the CPU
    dataset: str
    backbone: str
    init: str
    variant: str
    seed: int
    class_names: list[str]  # alphabetical, one per output of the head
    preprocess: PreprocessSettings
    epoch: int  # the kept one, from 1
    val_loss: float  # of that epoch
    batch_norm_momentum: float
    has_findings: bool = False  # an output is the logit of a finding that an image may have beside others


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
        CxrflowError: the file or its checksum is missing, or the content is not what the checksum says.
    """
    if not path.is_file():
        raise CxrflowError(f"{path} does not exist: make it first (`snakemake {path}`)")
    sidecar = checksum_path(path)
    if not sidecar.is_file():
        raise CxrflowError(
            f"{sidecar} does not exist, so {path.name} cannot be checked: copy both files, or train again"
        )
    expected = sidecar.read_text(encoding="utf-8", errors="replace").split()[:1]
    actual = sha256_file(path)
    if expected != [actual]:
        raise CxrflowError(
            f"{path} is damaged: its SHA-256 is {actual[:12]}..., and {sidecar.name} says {''.join(expected)[:12]}...: "
            "copy it again, or delete both and train again"
        )
    check_unchanged(path, actual)
    return load_tensors(path)


def set_aside(path: Path) -> Path:
    """Rename a file that cannot be trusted, so that a person can still look at it; return its new path."""
    return path.replace(path.with_name(f"{path.name}.damaged"))


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
        # only the first sentence: the rest is advice to load without checks
        said = str(error).partition("\n")[0].partition(". ")[0] or type(error).__name__
        raise CxrflowError(f"{path} is not a file of weights that PyTorch can read ({said})") from None
    if not isinstance(value, dict):
        raise CxrflowError(f"{path} holds a {type(value).__name__}; expected a dictionary of weights")
    return value


def save_model(path: Path, model: SavedModel) -> None:
    """Write model.pt.sha256, then model.pt."""
    save_checked(path, {"format": MODEL_FORMAT, **vars(model), "preprocess": settings_dict(model.preprocess)})


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
    fields = dataclasses.fields(SavedModel)
    missing = [each.name for each in fields if each.name not in content and each.default is dataclasses.MISSING]
    if missing:
        raise CxrflowError(f"{path} is not a model of cxrflow: it lacks {', '.join(missing)}")
    content["preprocess"] = parse_settings(PreprocessSettings, content["preprocess"], f"{path}: preprocess")
    return SavedModel(**{each.name: content[each.name] for each in fields if each.name in content})


def restore_network(model: SavedModel, *, findings: bool = False) -> nn.Module:
    """Build the network of a saved model, on the CPU, in eval mode.

    findings: whether its outputs are taken as those of findings, of which an image may have several, or of classes.

    Raises:
        CxrflowError: they are the other.
    """
    if model.has_findings != findings:
        kind = "several findings" if model.has_findings else "one class"
        raise CxrflowError(
            f"the {model.backbone} on {model.dataset} tells {kind} per image, which this command is not for: see"
            " config/nih14.yaml for findings and config/lungs.yaml for classes"
        )
    network = build_network(model.backbone, len(model.class_names), model.batch_norm_momentum)
    fit_to_size(network, model.backbone, model.preprocess.size_px)
    network.load_state_dict(model.state_dict)
    return network.eval()


def load_init(network: nn.Module, backbone: str, init: str, weights: Path | None) -> bool:
    """Load what a network starts from, in place: random weights, ImageNet's, another dataset's, or named ones.

    All but the head is loaded; the head keeps its random weights, because its classes are others.

    weights: none for init `scratch`; torchvision's file for `imagenet`; that dataset's model.pt for `from_<dataset>`;
        what convert_weights wrote for `weights_<name>`.
    Returns whether only the head is to be fitted, as the entry of named weights says (`head: probe`).

    Raises:
        CxrflowError: the file does not fit the init, the backbone or its own checksum.
    """
    if init == SCRATCH:
        if weights is not None:
            raise CxrflowError(
                f"init is scratch, but init weights are given ({weights}): leave them out, or name their init"
            )
        return False
    if weights is None:
        raise CxrflowError(f"init is {init}, but no init weights are given: add --init-weights FILE")
    if init == IMAGENET:
        check_weights(weights)
        load_all_but_head(network, backbone, load_tensors(weights), weights)
    elif init.startswith(FROM_DATASET):
        source, wanted = load_model(weights), init.removeprefix(FROM_DATASET)
        if source.dataset != wanted:
            raise CxrflowError(
                f"{weights} was trained on {source.dataset}, but init {init} needs a model trained on {wanted}"
            )
        if source.backbone != backbone:
            raise CxrflowError(
                f"{weights} is a {source.backbone}, but the model to train is a {backbone}: a transfer needs the same "
                "backbone"
            )
        fit_to_size(network, backbone, source.preprocess.size_px)
        load_all_but_head(network, backbone, source.state_dict, weights)
    elif init.startswith(FROM_WEIGHTS):
        named = load_checked(weights)
        if (named["name"], named["backbone"]) != (init.removeprefix(FROM_WEIGHTS), backbone):
            raise CxrflowError(
                f"{weights} holds {named['name']}, a {named['backbone']}, and init {init} of a {backbone} was asked for"
            )
        load_all_but_head(network, backbone, named["state_dict"], weights)
        return bool(named["head"] == "probe")
    else:
        known = f"{SCRATCH}, {IMAGENET}, {FROM_DATASET}<dataset>, {FROM_WEIGHTS}<name>"
        raise CxrflowError(f"init is {init!r}; known: {known}")
    return False


def load_all_but_head(network: nn.Module, backbone: str, weights: Mapping[str, Any], path: Path) -> None:
    """Load weights into all layers but the head, every one of them; `path` names their file in messages.

    weights: a state dict of the same layers; its head may have any number of classes, or be missing.

    Raises:
        CxrflowError: layers are missing, unknown or of another shape.
    """
    head = find_head(network, backbone) + "."
    body = {name: value for name, value in weights.items() if not name.startswith(head)}
    own_head = {name: value for name, value in network.state_dict().items() if name.startswith(head)}
    try:
        network.load_state_dict(body | own_head)
    except RuntimeError as error:  # its first line names only the class of the network
        reasons = " ".join(str(error).split("\n\t")[1:])
        raise CxrflowError(f"{path} does not fit {backbone}: {shorten(reasons, 200)}") from None
