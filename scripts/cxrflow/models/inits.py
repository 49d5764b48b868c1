"""What a network starts from: drawn weights, ImageNet's, or those of a model trained on another dataset.

All but the head is taken over; the head keeps its drawn weights, because its classes are others.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from cxrflow.config.identity import FROM_DATASET, IMAGENET, SCRATCH
from cxrflow.errors import CxrflowError
from cxrflow.models.checkpoints import load_model, load_tensors
from cxrflow.models.networks import find_backbone
from cxrflow.models.weights import check_weights


def load_init(network: nn.Module, backbone: str, init: str, weights: Path | None) -> None:
    """Load the weights of an init into a network, in place.

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
                f"init is scratch, and yet there are init weights ({weights}): leave them out, or name their init"
            )
        return
    if weights is None:
        raise CxrflowError(f"init is {init}, and no init weights are given: add --init-weights FILE")
    if init == IMAGENET:
        load_all_but_head(network, backbone, read_imagenet_weights(weights), weights)
    elif init.startswith(FROM_DATASET):
        load_all_but_head(network, backbone, _read_trained_weights(weights, backbone, init), weights)
    else:
        raise CxrflowError(f"init is {init!r}; known: {SCRATCH}, {IMAGENET}, {FROM_DATASET}<dataset>")


def read_imagenet_weights(path: Path) -> dict[str, Any]:
    """Read a file of torchvision's weights whose name carries its checksum.

    Raises:
        CxrflowError: it is missing, or its content is not what its name says.
    """
    check_weights(path)
    return load_tensors(path)


def _read_trained_weights(path: Path, backbone: str, init: str) -> dict[str, Any]:
    source = load_model(path)
    wanted = init.removeprefix(FROM_DATASET)
    if source.backbone != backbone:
        raise CxrflowError(
            f"{path} is a {source.backbone}, and the model to train is a {backbone}: transfer needs equal backbones"
        )
    if source.dataset != wanted:
        raise CxrflowError(f"{path} was trained on {source.dataset}, and init {init} needs a model trained on {wanted}")
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
    head = find_backbone(backbone).head + "."
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
