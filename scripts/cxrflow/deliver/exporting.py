"""From model.pt to the bytes of model.onnx, checked against PyTorch.

The graph takes preprocessed gray images and gives probabilities: scaling, the three channels and the normalization are
inside, so that nobody can get them wrong. `onnx` is imported where it is needed: a GPU node may lack it.

torch has two exporters. This is the older one (dynamo=False): 1-2 s against 21 s for MobileNetV3-Large, onnxscript and
onnx-ir not needed, the result as fast and as equal. PyTorch will remove it some day; the upper bound on torch in
pyproject.toml holds until then.
"""

import copy
import io
import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from cxrflow.config.settings import IMAGENET_MEAN, IMAGENET_STD
from cxrflow.deliver.delivered import (
    FEATURES,
    INPUT,
    JOINT_OUTPUT_MEANING,
    LOGITS,
    MAPS,
    MEMBER_FACTS,
    PROBABILITIES,
    DeliveredModel,
    ModelCard,
    card_to_metadata,
    seal_model,
)
from cxrflow.deliver.mapping import MapPart, find_map_part
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import read_json, sha256_file
from cxrflow.files.code_hash import find_own_version
from cxrflow.models.checkpoints import SavedModel, restore_network
from cxrflow.models.networks import (
    forward_with_features,
    normalize_planes,
    to_network_input,
    to_unit_range,
)

OPSET = 17  # of ONNX 1.12, 2022: enough for the backbones, and every runtime in use reads it
TOLERANCE = 1e-5  # of probabilities
# Some networks magnify rounding, most on noise: float32 PyTorch itself is then off by up to 2e-4.
TIMES_OWN_ERROR = 10
CHECKED_BATCHES = (1, 6)  # the graph is traced with two images: both show that it takes any number
NORMALIZATION = {"divide_by": 255, "mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD), "where": "in the graph"}


class Delivery(nn.Module):
    """Networks with what `models.inference.predict` does before and after each, and the mean of their answers."""

    def __init__(
        self, networks: Sequence[nn.Module], backbone: str, maps: Sequence[MapPart | None], flip: bool
    ) -> None:
        """Take networks in eval mode, the name of their backbone, how each one's maps are made, and whether to flip."""
        super().__init__()
        self.networks, self.backbone, self.flip = nn.ModuleList(networks), backbone, flip
        self.maps: list[MapPart] = [part for part in maps if part]  # all of them, or none is used
        self.has_maps = len(self.maps) == len(networks)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Turn uint8 (n, H, W) into probabilities, float64 (n, n_classes), logits and features, and maps, float32."""
        inputs = normalize_planes(to_unit_range(images))
        passes = [self.read(number, inputs) for number in range(len(self.networks))]
        if self.flip:
            mirrored = [self.read(number, inputs.flip(3)) for number in range(len(self.networks))]
            passes += [(logits, features, *(each.flip(3) for each in maps)) for logits, features, *maps in mirrored]
        if len(passes) == 1:
            logits, features, *maps = passes[0]
            return logits.double().softmax(dim=1), logits, features, *maps
        all_logits, all_features, *all_maps = zip(*passes, strict=True)
        # The softmax of these logits, whose sum is 1 already, is the mean of the probabilities.
        together = torch.stack([each.double().log_softmax(1) for each in all_logits]).logsumexp(0) - math.log(
            len(passes)
        )
        maps = [torch.stack(each).mean(0) for each in all_maps]
        return together.exp(), together.float(), torch.cat(all_features, 1), *maps

    def read(self, number: int, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the logits, the features and, where there are any, the maps of one network."""
        network: nn.Module = self.networks[number]
        if not self.has_maps:
            return forward_with_features(network, self.backbone, inputs)
        kept: list[Tensor] = []
        target = network.get_submodule(self.maps[number].layer)
        with target.register_forward_hook(lambda _layer, _inputs, output: kept.append(output)):
            logits, features = forward_with_features(network, self.backbone, inputs)
        return logits, features, self.maps[number].weigh(kept[0])


def describe_model(saved: SavedModel, model: Path, training: Path | None) -> ModelCard:
    """Return the card of a saved model.

    model: its model.pt.
    training: its training.json, or None where that did not come along.
    """
    facts: dict[str, Any] = read_json(training) if training else {}
    return ModelCard(
        dataset=saved.dataset,
        backbone=saved.backbone,
        init=saved.init,
        variant=saved.variant,
        seed=saved.seed,
        epoch=saved.epoch,
        class_names=saved.class_names,
        preprocess=saved.preprocess,
        normalization=NORMALIZATION,
        model_sha256=sha256_file(model),
        training_key=facts.get("key", "unknown"),
        n_train=facts.get("n_train", 0),
        opset=OPSET,
        torch_version=str(torch.__version__),
        cxrflow_version=find_own_version(),
    )


def join_cards(cards: Sequence[ModelCard], *, flip: bool) -> ModelCard:
    """Return the card of an ensemble of models that differ in their seed alone, or of one with flip, or of one."""
    if len(cards) == 1 and not flip:
        return cards[0]
    others = [{key: getattr(card, key) for key in MEMBER_FACTS} for card in cards[1:]]
    return replace(cards[0], others=others, flip=flip, output=JOINT_OUTPUT_MEANING)


def export_model(members: Sequence[SavedModel], card: ModelCard) -> bytes:
    """Return the sealed bytes of model.onnx, with all members in it; equal models give equal bytes.

    Raises:
        CxrflowError: the package onnx is missing, or `trace_networks` cannot export the networks.
    """
    try:
        import onnx
    except ImportError:
        raise CxrflowError(
            "exporting needs the package onnx: pip install onnx, or use the environment in envs/"
        ) from None
    networks = [restore_network(saved) for saved in members]
    traced = trace_networks(networks, card.backbone, card.preprocess.size_px, flip=card.flip)
    graph = onnx.load_model_from_string(traced)
    onnx.helper.set_model_props(graph, card_to_metadata(card))
    return seal_model(graph.SerializeToString(deterministic=True))


def trace_networks(networks: Sequence[nn.Module], backbone: str, size_px: int, *, flip: bool = False) -> bytes:
    """Return the ONNX graph of networks in eval mode, weights inside, for any number of images at once.

    Raises:
        CxrflowError: a network has a part that ONNX lacks.
    """
    buffer = io.BytesIO()
    maps = [find_map_part(network, backbone, size_px) for network in networks]
    delivery = Delivery(networks, backbone, maps, flip).eval()
    outputs = [PROBABILITIES, LOGITS, FEATURES, *[MAPS] * delivery.has_maps]
    example = torch.from_numpy(make_inputs(2, size_px))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", "torch.tensor results are registered as constants")  # mean and std should be
        warnings.simplefilter("ignore", TracerWarning)  # timm asks for the images' size, which stays
        try:
            torch.onnx.export(
                delivery,
                (example,),
                buffer,  # type: ignore[arg-type]  # the older exporter also writes to memory
                input_names=[INPUT],
                output_names=outputs,
                dynamic_axes={name: {0: "n"} for name in (INPUT, *outputs)},
                opset_version=OPSET,
                dynamo=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise CxrflowError(
                f"PyTorch cannot export {backbone} at {size_px} px to ONNX, as which models are delivered"
                f" and timed: {str(error).splitlines()[0]}. Take another preprocess.size_px, such as 224, or backbone"
            ) from None
    return buffer.getvalue()


def check_export(content: bytes, members: Sequence[SavedModel], path: Path) -> float:
    """Compare an export with the networks it came from, computed in float64; return the largest difference.

    Raises:
        CxrflowError: a probability differs by more than TOLERANCE and by more than TIMES_OWN_ERROR of what PyTorch in
            float32 differs by, or is not a number; the export must not be used.
    """
    delivered, networks = DeliveredModel(content, path, threads=1), [restore_network(saved) for saved in members]
    exact, flip = [copy.deepcopy(network).double() for network in networks], delivered.card.flip
    differences, own = [], []
    for n_images in CHECKED_BATCHES:
        images = make_inputs(n_images, members[0].preprocess.size_px)
        wanted = answer_by(exact, images, torch.float64, flip)
        differences.append(np.abs(delivered.run(images).probabilities - wanted).max())
        own.append(np.abs(answer_by(networks, images, torch.float32, flip) - wanted).max())
    worst = float(np.max(differences))  # NaN if one of them is, which Python's max would pass over
    allowed = max(TOLERANCE, TIMES_OWN_ERROR * float(np.max(own)))
    if not worst <= allowed:
        raise CxrflowError(
            f"{path}: the export differs from PyTorch by {worst:.2g} in a probability, more than {allowed:.2g}; "
            "nothing was written. Report it with the versions of torch, onnx and onnxruntime"
        )
    return worst


def answer_by(
    networks: Sequence[nn.Module], images: NDArray[np.uint8], dtype: torch.dtype, flip: bool
) -> NDArray[np.float64]:
    """Return PyTorch's mean probabilities, float64 (n, n_classes), of uint8 (n, H, W), by networks of this dtype."""
    views = [images, *[np.flip(images, 2).copy()] * flip]
    with torch.inference_mode():
        inputs = [to_network_input(torch.from_numpy(view)).to(dtype) for view in views]
        answers = [network(each).double().softmax(dim=1) for network in networks for each in inputs]
    return np.asarray(torch.stack(answers).mean(0))


def make_inputs(n_images: int, size_px: int) -> NDArray[np.uint8]:
    """Make images from pure noise to a smooth ramp, by a fixed seed: uint8 (n_images, size_px, size_px)."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 255, size_px)[:, None]
    shares = np.linspace(0, 1, n_images)[:, None, None]
    noise = rng.integers(0, 256, (n_images, size_px, size_px))
    return np.asarray(shares * ramp + (1 - shares) * noise, dtype=np.uint8)
