"""A delivered model, model.onnx: what it says about itself, the seal that shows damage, and its answers.

It runs in ONNX Runtime on the CPU. Imports no torch: that alone takes seconds.

ONNX Runtime checks nothing but the structure: changed weights load silently. An ONNX file is a message of Protocol
Buffers, which may be extended by appending to it, so the seal is one more entry of the metadata, `cxrflow_sha256`, at
the very end: the SHA-256 of all bytes before it. Every other reader of ONNX sees an ordinary file. The seal does not
prove who made the file. Source: https://protobuf.dev/programming-guides/encoding/ and field 14, `metadata_props`, of
ModelProto in https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrflow.config.layout import CandidateId, ModelId
from cxrflow.config.parsing import parse_settings, settings_dict
from cxrflow.config.settings import PreprocessSettings
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import sha256_bytes
from cxrflow.files.formats import join_words

CARD_FORMAT = 3
NOTICE = "Research software, not a medical device: nothing it says is a diagnosis."
INPUT = "images"
PROBABILITIES, LOGITS, FEATURES, MAPS = "probabilities", "logits", "features", "maps"
INPUT_MEANING = "uint8 (n, size_px, size_px), gray 0-255, preprocessed as `preprocess` says"
OUTPUT_MEANING = (
    "probabilities float64 (n, n_classes), softmax, in the order of `class_names`; logits float32; features float32;"
    " maps float32 (n, n_classes, rows, columns), Grad-CAM, where the network allows it"
)
JOINT_OUTPUT_MEANING = (
    "probabilities float64 (n, n_classes), the mean over the members and, with flip, over image and mirror image, in"
    " the order of `class_names`; logits float32, their logarithms; features float32, of all one behind the other;"
    " maps float32 (n, n_classes, rows, columns), the mean of Grad-CAM of each, where the networks allow it"
)
MEMBER_FACTS = ("seed", "epoch", "model_sha256", "training_key")  # in which members of an ensemble differ
HOW_TO_EXPORT = "for example `snakemake results/<study>/models/.../seed0/model.onnx`"
ERRORS_ONLY = 3  # onnxruntime's log level: its warnings are about its own internals

KEY = b"cxrflow_sha256"
DIGEST_BYTES = 64  # in hex digits
METADATA_TAG, KEY_TAG, VALUE_TAG = 14 << 3 | 2, 1 << 3 | 2, 2 << 3 | 2  # field number, then 2 for "with a length"
ENTRY = bytes([KEY_TAG, len(KEY)]) + KEY + bytes([VALUE_TAG, DIGEST_BYTES])
SEAL_START = bytes([METADATA_TAG, len(ENTRY) + DIGEST_BYTES]) + ENTRY
SEAL_BYTES = len(SEAL_START) + DIGEST_BYTES


@dataclass(frozen=True)
class ModelCard:
    """All that is needed to use a model on X-rays.

    Attributes:
        dataset, backbone, init, variant, seed: which model it is; of an ensemble the first, as all that follows.
        epoch: the kept one, from 1.
        class_names: one per output, in this order.
        preprocess: how an X-ray becomes the network's input image.
        normalization: what the graph itself does to that image first; it must not be done before.
        model_sha256: of the model.pt that was exported.
        training_key: stands for all that the training depends on (split, images, settings, code), or `unknown`.
        n_train: images that it was trained on, or 0 where that is unknown.
        opset: of the ONNX graph.
        torch_version: that exported it.
        cxrflow_version: that exported it.
        others: the further members of an ensemble, with MEMBER_FACTS of each.
        flip: the mirror image counts as much as the image; the graph makes it.
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
    others: list[dict[str, Any]] = field(default_factory=list)
    flip: bool = False
    input: str = INPUT_MEANING
    output: str = OUTPUT_MEANING
    notice: str = NOTICE
    format: int = CARD_FORMAT

    @property
    def name(self) -> str:
        """`dataset/backbone/init/variant/seed0`, of an ensemble with all seeds."""
        first = ModelId(self.dataset, self.backbone, self.init, self.variant, self.seed)
        members = (first, *(replace(first, seed=other["seed"]) for other in self.others))
        return CandidateId(members, self.flip).path

    @property
    def epochs(self) -> str:
        """The epoch of each member, in words: `epoch 7`, `epochs 7 and 9`."""
        epochs = [self.epoch, *(other["epoch"] for other in self.others)]
        return f"epoch{'s' * (len(epochs) > 1)} {join_words([str(epoch) for epoch in epochs])}"

    def describe(self) -> str:
        """Return in one line which model it is."""
        images = f", trained on {self.n_train:,} images" if self.n_train else ""
        return f"{self.name}, {self.epochs}{images}"


def card_to_metadata(card: ModelCard) -> dict[str, str]:
    """Return the metadata of an ONNX file, {field: JSON}."""
    values = {field.name: getattr(card, field.name) for field in dataclasses.fields(card)}
    values["preprocess"] = settings_dict(card.preprocess)
    return {name: json.dumps(value, ensure_ascii=False, sort_keys=True) for name, value in values.items()}


def card_from_metadata(metadata: Mapping[str, str], path: Path) -> ModelCard:
    """Read a card back; `path` is named in errors.

    Raises:
        CxrflowError: fields are missing, not JSON, or of another version of this format.
    """
    names = [field.name for field in dataclasses.fields(ModelCard)]
    try:
        values = {name: json.loads(metadata[name]) for name in names if name in metadata}
    except ValueError as error:
        raise CxrflowError(f"{path}: its metadata is not JSON ({error}): export the model again") from None
    if values.get("format") != CARD_FORMAT:
        raise CxrflowError(
            f"{path} has metadata of format {values.get('format')!r}, and this cxrflow reads {CARD_FORMAT}: "
            "export the model again, or use the version of cxrflow that exported it"
        )
    if missing := [name for name in names if name not in values]:
        raise CxrflowError(f"{path}: its metadata lacks {', '.join(missing)}: export the model again")
    preprocess = parse_settings(PreprocessSettings, values["preprocess"], f"{path}: preprocess")
    return ModelCard(**{**values, "preprocess": preprocess})


def seal_model(content: bytes) -> bytes:
    """Return the bytes of an ONNX file with their seal at the end."""
    return content + SEAL_START + sha256_bytes(content).encode()


def read_sealed(path: Path) -> bytes:
    """Return the bytes of a sealed ONNX file, seal included.

    Raises:
        CxrflowError: it is missing, not exported by cxrflow, cut off, or changed since.
    """
    try:
        data = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise CxrflowError(f"{path} is not a file: export a model first, {HOW_TO_EXPORT}") from None
    if path.suffix == ".pt":
        raise CxrflowError(f"{path} is a model of PyTorch: export it first, {HOW_TO_EXPORT}")
    content, seal = data[:-SEAL_BYTES], data[-SEAL_BYTES:]
    if not seal.startswith(SEAL_START):
        raise CxrflowError(
            f"{path} does not end with the seal of cxrflow: it is cut off, or another program wrote or changed it, "
            f"so it is unknown how to prepare images for it. Copy it again, or export it, {HOW_TO_EXPORT}"
        )
    if seal.removeprefix(SEAL_START) != sha256_bytes(content).encode():
        raise CxrflowError(
            f"{path} is damaged: its content does not match its seal. Copy it again, or export it, {HOW_TO_EXPORT}"
        )
    return data


@dataclass(frozen=True)
class Outputs:
    """What a model gives for n images.

    Attributes:
        probabilities: float64 (n, n_classes), softmax of the logits.
        logits: float32 (n, n_classes).
        features: float32 (n, n_features), what enters the head.
        maps: float32 (n, n_classes, rows, columns), Grad-CAM of each class, at least 0, where they were asked for and
            there are any.
    """

    probabilities: NDArray[np.float64]
    logits: NDArray[np.float32]
    features: NDArray[np.float32]
    maps: NDArray[np.float32] | None = None


class DeliveredModel:
    """One model, ready to answer.

    Attributes:
        card: what it says about itself.
        grid: rows and columns of its maps, or None: it has none.
    """

    def __init__(self, content: bytes, path: Path, threads: int) -> None:
        """Take the bytes of model.onnx; `path` is named in errors.

        Raises:
            CxrflowError: ONNX Runtime is missing or cannot run it, or its metadata is not ours or not about this graph.
        """
        self._session = start_session(content, path, threads)
        self.card = card_from_metadata(self._session.get_modelmeta().custom_metadata_map, path)
        shapes = {output.name: output.shape for output in self._session.get_outputs()}
        self.grid: tuple[int, int] | None = tuple(shapes[MAPS][2:]) if MAPS in shapes else None
        n_classes = shapes.get(PROBABILITIES, [None])[-1]
        if n_classes != len(self.card.class_names):
            raise CxrflowError(
                f"{path} gives {n_classes} probabilities and names {len(self.card.class_names)} classes: export the"
                " model again"
            )

    def run(self, images: NDArray[np.uint8], *, maps: bool = False) -> Outputs:
        """Answer for preprocessed images, uint8 (n, size_px, size_px); maps: with maps, if there are any."""
        names = [PROBABILITIES, LOGITS, FEATURES, *([MAPS] if maps and self.grid else [])]
        return Outputs(*self._session.run(names, {INPUT: images}))


def start_session(content: bytes, path: Path | str, threads: int) -> Any:
    """Make a graph ready to run in ONNX Runtime on the CPU; `path` is named in errors.

    Raises:
        CxrflowError: ONNX Runtime is missing or cannot run it.
    """
    try:
        import onnxruntime
    except ImportError:
        raise CxrflowError(
            "the package onnxruntime is missing: pip install onnxruntime, or use the environment in envs/"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = ERRORS_ONLY
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base but this one
        raise CxrflowError(
            f"{path} cannot be run by ONNX Runtime {onnxruntime.__version__} ({error}): export the model again"
        ) from None


def open_model(path: Path, threads: int) -> DeliveredModel:
    """Read model.onnx, check its seal, and make it ready.

    Raises:
        CxrflowError: it is missing, damaged, foreign, or of another version.
    """
    return DeliveredModel(read_sealed(path), path, threads)
