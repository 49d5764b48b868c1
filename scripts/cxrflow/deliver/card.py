"""What a delivered model says about itself: the metadata of model.onnx. Standard library only."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrflow.config.identity import ModelId
from cxrflow.config.settings import PreprocessSettings, parse_settings, settings_dict
from cxrflow.errors import CxrflowError

CARD_FORMAT = 1
NOTICE = "Research software, not a medical device: nothing it says is a diagnosis."
INPUT, PROBABILITIES, LOGITS = "images", "probabilities", "logits"
INPUT_MEANING = "uint8 (n, size_px, size_px), gray 0-255, resized, equalized and blurred as `preprocess` says"
OUTPUT_MEANING = "probabilities float64 (n, n_classes), softmax, in the order of `class_names`; logits float32"


@dataclass(frozen=True)
class ModelCard:
    """All that a reader of X-rays must know of a model.

    Attributes:
        dataset, backbone, init, variant, seed: which model it is.
        epoch: the kept one, from 1.
        class_names: one per output, in this order.
        preprocess: how an X-ray becomes the network's input image.
        normalization: what the graph itself does to that image first; a reader does not repeat it.
        model_sha256: of the model.pt that was exported.
        training_key: stands for all that the training depends on (split, images, settings, code), or `unknown`.
        n_train: images that it was trained on, or 0 where that is unknown.
        opset: of the ONNX graph.
        torch_version: that exported it.
        cxrflow_version: that exported it.
        input, output: the graph's, in words.
        notice: what it is not.
        format: of this card.
    """

    dataset: str
    backbone: str
    init: str
    variant: str
    seed: int
    epoch: int
    class_names: list[str]
    preprocess: PreprocessSettings
    normalization: dict[str, Any]
    model_sha256: str
    training_key: str
    n_train: int
    opset: int
    torch_version: str
    cxrflow_version: str
    input: str = INPUT_MEANING
    output: str = OUTPUT_MEANING
    notice: str = NOTICE
    format: int = CARD_FORMAT

    @property
    def name(self) -> str:
        """`dataset/backbone/init/variant/seed0`."""
        return ModelId(self.dataset, self.backbone, self.init, self.variant, self.seed).path

    def describe(self) -> str:
        """Return in one line which model it is."""
        images = f", trained on {self.n_train:,} images" if self.n_train else ""
        return f"{self.name}, epoch {self.epoch}{images}"


def card_to_metadata(card: ModelCard) -> dict[str, str]:
    """Return the metadata of an ONNX file, {field: JSON}."""
    values = {field.name: getattr(card, field.name) for field in dataclasses.fields(card)}
    values["preprocess"] = settings_dict(card.preprocess)
    return {name: json.dumps(value, ensure_ascii=False, sort_keys=True) for name, value in values.items()}


def card_from_metadata(metadata: Mapping[str, str], path: Path) -> ModelCard:
    """Read a card back; `path` is named in errors.

    Raises:
        CxrflowError: fields are missing, no JSON, or of another version of this format.
    """
    names = [field.name for field in dataclasses.fields(ModelCard)]
    try:
        values = {name: json.loads(metadata[name]) for name in names if name in metadata}
    except ValueError as error:
        raise CxrflowError(f"{path}: its metadata is no JSON ({error}): export the model again") from None
    if values.get("format") != CARD_FORMAT:
        raise CxrflowError(
            f"{path} has metadata of format {values.get('format')!r}, and this cxrflow reads {CARD_FORMAT}: "
            "export the model again, or use the version of cxrflow that exported it"
        )
    if missing := [name for name in names if name not in values]:
        raise CxrflowError(f"{path}: its metadata lacks {', '.join(missing)}: export the model again")
    preprocess = parse_settings(PreprocessSettings, values["preprocess"], f"{path}: preprocess")
    return ModelCard(**{**values, "preprocess": preprocess})
