"""Pretrained weights of other projects, turned into those of the networks here.

Reads safetensors, or a state dict of PyTorch with weights_only, so that no code in a file ever runs. A pickled model
must be saved anew where it comes from; config/weights.md shows how. Writes weights/<name>.pth with its checksum.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cxrflow.config.settings import IMAGENET_MEAN, IMAGENET_STD, WeightsSettings
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import sha256_file
from cxrflow.models.checkpoints import load_all_but_head, load_tensors
from cxrflow.models.networks import build_network, find_head

PART = re.compile(r"\[\d\]$")


def read_tensors(path: Path, settings: WeightsSettings) -> dict[str, Tensor]:
    """Read a file of weights under the names that its owner gave them.

    Raises:
        CxrflowError: it is missing, another file than the config says, or holds no weights.
    """
    if not path.is_file():
        raise CxrflowError(f"{path} does not exist, and weights.url names no address: put it there by hand")
    if (found := sha256_file(path)) != settings.sha256:
        raise CxrflowError(
            f"{path} is another file than the config names: its SHA-256 is {found}, and weights.sha256 is"
            f" {settings.sha256}. Fetch it again, or correct the config if you know this file"
        )
    with path.open("rb") as handle:
        is_safetensors = handle.read(9)[8:] == b"{"  # after 8 bytes of its length comes a JSON object
    if is_safetensors:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            values: Any = load_file(path)
        except SafetensorError as error:
            raise CxrflowError(f"{path} is not a whole file of safetensors: {error}") from None
    else:
        values = load_tensors(path)
    for key in filter(None, settings.part.split(".")):
        if not isinstance(values, Mapping) or key not in values:
            raise CxrflowError(f"{path} has no part {settings.part}: it has {', '.join(map(str, values))[:200]}")
        values = values[key]
    tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CxrflowError(
            f"{path} holds no weights, but {', '.join(map(str, values))[:200]}: name one as weights.part"
        )
    return tensors


def rename_tensors(tensors: Mapping[str, Tensor], keys: Mapping[str, str]) -> dict[str, Tensor]:
    """Rename weights by regular expressions, one after the other; what has no name left is dropped.

    What is then called x[0], x[1] and so on becomes x: the parts, one behind the other along their first axis.
    """
    renamed = {}
    for name, value in tensors.items():
        for pattern, replacement in keys.items():
            name = re.sub(pattern, replacement, name)
        if name:
            renamed[name] = value
    parts = sorted(name for name in renamed if PART.search(name))
    joined: dict[str, list[Tensor]] = {}
    for part in parts:
        joined.setdefault(PART.sub("", part), []).append(renamed.pop(part))
    return renamed | {name: torch.cat(values) for name, values in joined.items()}


def convert_weights(tensors: Mapping[str, Tensor], settings: WeightsSettings, path: Path) -> dict[str, Tensor]:
    """Return the weights as a state dict of the backbone here, without a head; `path` names their file in messages.

    Raises:
        CxrflowError: layers are missing, unknown or of another shape once renamed.
    """
    network = build_network(settings.backbone, n_classes=2, batch_norm_momentum=0.1)
    renamed = rename_tensors(tensors, settings.keys)
    adapt_input(renamed, network, settings)
    load_all_but_head(network, settings.backbone, renamed, path)
    head = find_head(network, settings.backbone) + "."
    return {name: value for name, value in network.state_dict().items() if not name.startswith(head)}


def adapt_input(tensors: dict[str, Tensor], network: nn.Module, settings: WeightsSettings) -> None:
    """Change the first convolution so that it takes gray images as they are normalized here, in place.

    With x = (g - m) / s here and x' = (g - m') / s' where the weights come from, k * x' is (k s / s') * x plus
    k (m - m') / s'. That constant goes into the bias, or out of the mean of the BatchNorm that follows; at the border,
    where zeros pad the image, they then stand for the mean here. A kernel of one channel is divided among three.
    """
    (first, layer), *later = [(name, module) for name, module in network.named_modules() if not list(module.children())]
    kernel = tensors.get(f"{first}.weight")
    if kernel is None or not isinstance(layer, nn.Conv2d):
        return  # what is missing is said where all layers are compared
    if kernel.shape[1] == 1:
        kernel = kernel.expand(-1, 3, -1, -1) / 3
    here_mean, here_std, mean, std = (
        torch.tensor(values, dtype=torch.float64).expand(3).view(1, 3, 1, 1)
        for values in (IMAGENET_MEAN, IMAGENET_STD, settings.mean, settings.std)
    )
    shift = (kernel.double() * (here_mean - mean) / std).sum(dim=(1, 2, 3))
    tensors[f"{first}.weight"] = (kernel.double() * here_std / std).to(kernel.dtype)
    target, sign = (f"{first}.bias", 1) if layer.bias is not None else (f"{later[0][0]}.running_mean", -1)
    if target in tensors:
        tensors[target] = (tensors[target].double() + sign * shift).to(kernel.dtype)
    elif shift.abs().max() > 0:
        raise CxrflowError(
            f"{settings.backbone}: after its first layer there is nothing that takes up a change of weights.mean; leave"
            " mean and std out"
        )
