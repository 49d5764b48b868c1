"""Networks: built from the table of backbones, fed with gray images, read before their head.

A network is torchvision's, with one linear layer, the head, from the backbone's features to the classes.
"""

from functools import cache
from typing import cast

import cv2
import torch
import torchvision
from torch import Tensor, nn

from cxrflow.config.backbones import BACKBONES, Backbone
from cxrflow.errors import CxrflowError
from cxrflow.models.seeding import derive_seed

# Of torchvision's ImageNet weights (their `transforms()`), for red, green and blue in 0-1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def find_backbone(name: str) -> Backbone:
    """Return a backbone's entry in the table.

    Raises:
        CxrflowError: there is none of that name.
    """
    if name not in BACKBONES:
        raise CxrflowError(
            f"{name!r} is no backbone; known: {', '.join(BACKBONES)} (scripts/cxrflow/config/backbones.py)"
        )
    return BACKBONES[name]


def build_network(backbone: str, n_classes: int, batch_norm_momentum: float, seed: int = 0) -> nn.Module:
    """Build a network with weights drawn by `seed`, in training mode, channels_last.

    The head is a plain torch.nn.Linear in every backbone. torchvision's own head for EfficientNet draws its weights
    from +-1/sqrt(n_classes), which is right for 1000 classes and starts three with logits up to 7 instead of 0.4.

    The random state of the caller stays as it is (torch.random.fork_rng).

    Args:
        backbone: a name in BACKBONES.
        n_classes: outputs of the head.
        batch_norm_momentum: of every BatchNorm; torchvision builds MobileNetV3 with 0.01.
        seed: the model's seed.
    """
    entry = find_backbone(backbone)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("weights", seed))
        network = cast(nn.Module, torchvision.models.get_model(entry.torchvision_name, weights=None))
        head = network.get_submodule(entry.head)
        if not isinstance(head, nn.Linear):
            raise TypeError(f"BACKBONES[{backbone!r}].head is {entry.head!r}: a {type(head).__name__}, not a Linear")
        network.set_submodule(entry.head, nn.Linear(head.in_features, n_classes))
    set_batch_norm_momentum(network, batch_norm_momentum)
    return network.to(memory_format=torch.channels_last)


def set_batch_norm_momentum(network: nn.Module, momentum: float) -> None:
    """Set the share of each batch in the running mean and variance of every BatchNorm layer."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = momentum


def to_unit_range(images: Tensor) -> Tensor:
    """Turn uint8 (B, H, W), 0-255, into float32 (B, 1, H, W), 0-1."""
    return images.unsqueeze(1).float().div_(255)


def normalize_planes(images: Tensor) -> Tensor:
    """Repeat gray images in three channels and normalize them with the mean and deviation of ImageNet.

    The same for every init, so that a transferred model and one from scratch see equal inputs.

    Args:
        images: float (B, 1, H, W), 0-1.

    Returns:
        float (B, 3, H, W), plane by plane.
    """
    mean, std = _imagenet_statistics(images.device)
    return (images - mean).div_(std)


def normalize_gray(images: Tensor) -> Tensor:
    """Normalize as `normalize_planes`, into the layout in which convolutions are fastest.

    Args:
        images: float (B, 1, H, W), 0-1.

    Returns:
        float (B, 3, H, W), channels_last.
    """
    if images.device.type != "cpu":
        return normalize_planes(images).contiguous(memory_format=torch.channels_last)
    shape = (len(images), 3, *images.shape[2:])
    inputs = torch.empty(shape, dtype=images.dtype, memory_format=torch.channels_last)
    for place, interleaved in enumerate(inputs.permute(0, 2, 3, 1).numpy()):
        channels = normalize_planes(images[place : place + 1])[0]  # one image at a time stays in the core's cache
        cv2.merge([*channels.numpy()], dst=interleaved)  # twice as fast as PyTorch's copy
    return inputs


@cache
def _imagenet_statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return mean and deviation, float32 (1, 3, 1, 1) each; kept: a copy to a GPU waits for all it has queued."""
    with torch.inference_mode(False):  # whoever asks first, the next may train
        mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return mean, std


def to_network_input(images: Tensor) -> Tensor:
    """Turn packed images into what every network takes, without augmentation.

    Args:
        images: uint8 (B, H, W), 0-255.

    Returns:
        float32 (B, 3, H, W), normalized, channels_last.
    """
    return normalize_gray(to_unit_range(images))


def forward_with_features(network: nn.Module, backbone: str, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits (B, n_classes) and features (B, n_features): what enters the head.

    Args:
        network: of this backbone; in eval mode, or dropout thins the features.
        backbone: a name in BACKBONES.
        inputs: float (B, 3, H, W), from `to_network_input`.
    """
    captured: list[Tensor] = []

    def keep_input(_head: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        captured.append(arguments[0])

    handle = network.get_submodule(find_backbone(backbone).head).register_forward_pre_hook(keep_input)
    try:
        logits = network(inputs)
    finally:
        handle.remove()
    return logits, captured[0]
