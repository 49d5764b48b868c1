"""Networks: built from the table of backbones, fed with gray images, read before their head.

A network is torchvision's or timm's, with one linear layer, the head, from the backbone's features to the classes.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from types import SimpleNamespace
from typing import Any, cast

import cv2
import torch
from torch import Tensor, nn

from cxrflow.config.backbones import BACKBONES, Backbone, find_size_problem
from cxrflow.config.settings import IMAGENET_MEAN, IMAGENET_STD
from cxrflow.errors import CxrflowError
from cxrflow.models.devices import derive_seed

TABLE = "scripts/cxrflow/config/backbones.py"


@contextmanager
def without_compiler() -> Iterator[None]:
    """Keep torch's compiler out while torchvision is imported in this block; it is imported once something needs it.

    torchvision asks the compiler for one function, for an operation that no network here has. Its import is half of the
    4 CPU-seconds with which a stage that only predicts would begin. What trains needs it: torch's optimizers do.
    """
    package, module = "torch._dynamo", "torch._dynamo.utils"
    if package in sys.modules:
        yield
        return

    def is_compile_supported(device: str) -> Any:
        return import_module(module).is_compile_supported(device)

    sys.modules[package] = cast(Any, SimpleNamespace())
    sys.modules[module] = cast(Any, SimpleNamespace(is_compile_supported=is_compile_supported))
    try:
        yield
    finally:
        del sys.modules[package], sys.modules[module]


with without_compiler():
    import torchvision


def find_backbone(name: str) -> Backbone:
    """Return a backbone's entry in the table.

    Raises:
        CxrflowError: the table has no entry of that name.
    """
    if name not in BACKBONES:
        raise CxrflowError(f"{name!r} is not a backbone; known: {', '.join(BACKBONES)} ({TABLE})")
    return BACKBONES[name]


def build_published(backbone: str) -> nn.Module:
    """Build a network as its library publishes it, with 1000 classes and random weights from the global seed.

    Raises:
        CxrflowError: the table has no entry of that name, or the library no such network, or is not installed.
    """
    entry = find_backbone(backbone)
    build = {"torchvision": _build_of_torchvision, "timm": _build_of_timm}[entry.library]
    try:
        return build(entry.published or backbone, **entry.options)
    except (ValueError, RuntimeError) as error:
        version = list_versions(backbone)[entry.library]
        raise CxrflowError(f"{entry.library} {version} has no network of this name: {error}") from None


def _build_of_torchvision(name: str, **options: Any) -> nn.Module:
    return cast(nn.Module, torchvision.models.get_model(name, weights=None, **options))


def _build_of_timm(name: str, **options: Any) -> nn.Module:
    return cast(nn.Module, import_timm().create_model(name, pretrained=False, num_classes=1000, **options))


def import_timm() -> Any:
    """Return the package timm, which takes half a second to import and only some backbones need.

    Raises:
        CxrflowError: it is not installed.
    """
    try:
        import timm
    except ImportError as error:
        raise CxrflowError(f"backbones of timm need the package ({error}): `make setup` installs it") from None
    return timm


def list_versions(backbone: str) -> dict[str, str]:
    """Return the versions of what a backbone is built from."""
    versions = {"torch": str(torch.__version__), "torchvision": str(torchvision.__version__)}
    if find_backbone(backbone).library == "timm":
        versions["timm"] = str(import_timm().__version__)
    return versions


def fit_to_size(network: nn.Module, backbone: str, size_px: int) -> nn.Module:
    """Make a network take images of this size, in place, and return it: a transformer's positions are interpolated.

    Bicubic, as timm does it where it loads weights for another size; other networks take any size as they are.

    Raises:
        CxrflowError: it cannot take this size.
    """
    resize: Callable[..., None] | None = getattr(network, "set_input_size", None)
    problem = find_size_problem(backbone, size_px)
    try:
        if resize and not problem:
            resize(img_size=size_px)
        elif getattr(network, "image_size", size_px) != size_px:  # torchvision's transformers
            problem = f"{backbone} takes images of {network.image_size} px only"
    except (AssertionError, ValueError, RuntimeError) as error:
        problem = f"{backbone} cannot take images of {size_px} px: {error}"
    if problem:
        raise CxrflowError(f"{problem}. Change preprocess.size_px, or take another backbone")
    return network


def build_network(backbone: str, n_classes: int, batch_norm_momentum: float, seed: int = 0) -> nn.Module:
    """Build a network with random weights that follow from `seed`, in training mode, channels_last.

    The head is a plain torch.nn.Linear in every backbone. torchvision's own head for EfficientNet takes its weights
    from +-1/sqrt(n_classes), which is right for 1000 classes and starts three with logits up to 7 instead of 0.4.

    batch_norm_momentum: of every BatchNorm; torchvision builds MobileNetV3 with 0.01.
    """
    with torch.random.fork_rng(devices=[]):  # the random state of the caller stays as it is
        torch.manual_seed(derive_seed("weights", seed))
        network = build_published(backbone)
        path = find_head(network, backbone)
        head = cast(nn.Linear, network.get_submodule(path))
        network.set_submodule(path, nn.Linear(head.in_features, n_classes))
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = batch_norm_momentum
    return network.to(memory_format=torch.channels_last)


def estimate_batch_norm(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the statistics of every BatchNorm to the means over some batches, by the weights as they are now; in place.

    Wu & Johnson 2021, Rethinking "Batch" in BatchNorm (https://arxiv.org/abs/2105.07576), section 3. As
    torch.optim.swa_utils.update_bn, but with all other layers in eval mode, where the network is left: dropout and
    stochastic depth would shift what the layers behind them see. The running averages go on from here.

    batches: float (B, 3, H, W) each, from `to_network_input`, equally large; they count alike.
    """
    layers = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    network.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.train().momentum = None  # the plain mean of all batches
    with torch.inference_mode():
        for inputs in batches:
            network(inputs)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.eval().momentum = momentum


def find_head(network: nn.Module, backbone: str) -> str:
    """Return the dotted path of the head: the one that the table names, else the last linear layer.

    Raises:
        CxrflowError: there is no linear layer, or the named one is not linear.
    """
    linear: list[str] = [path for path, module in network.named_modules() if isinstance(module, nn.Linear)]
    named = find_backbone(backbone).head
    if named is None and linear:
        return linear[-1]
    if named in linear:
        return named
    raise CxrflowError(
        f"{backbone} has no linear layer {named or 'at all'}, and needs one as its head; its linear layers: "
        f"{', '.join(linear) or 'none'}. Name one as `head` in {TABLE}, or choose another network"
    )


def to_unit_range(images: Tensor) -> Tensor:
    """Turn uint8 (B, H, W), 0-255, into float32 (B, 1, H, W), 0-1."""
    return images.unsqueeze(1).float().div_(255)


def normalize_planes(images: Tensor) -> Tensor:
    """Repeat gray images in three channels and normalize them with the mean and deviation of ImageNet.

    The same for every init, so that a transferred model and one from scratch see equal inputs.
    From float (B, 1, H, W), 0-1, to float (B, 3, H, W), plane by plane.
    """
    mean, std = _imagenet_statistics(images.device)
    return (images - mean).div_(std)


def normalize_gray(images: Tensor) -> Tensor:
    """Normalize as `normalize_planes`, but into channels_last, the layout in which convolutions are fastest."""
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
    """Turn packed images, uint8 (B, H, W), into float32 (B, 3, H, W), normalized, channels_last, not augmented."""
    return normalize_gray(to_unit_range(images))


def forward_with_features(network: nn.Module, backbone: str, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits (B, n_classes) and features (B, n_features): what enters the head.

    network: in eval mode, or dropout thins the features; inputs: float (B, 3, H, W), from `to_network_input`.
    """
    captured: list[Tensor] = []
    head = network.get_submodule(find_head(network, backbone))
    with head.register_forward_pre_hook(lambda _head, arguments: captured.append(arguments[0])):
        return network(inputs), captured[0]
