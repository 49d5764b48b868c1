"""A delivered model at work, in ONNX Runtime on the CPU. Imports no torch: that alone takes seconds."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrflow.deliver.card import INPUT, PROBABILITIES, card_from_metadata, read_sealed
from cxrflow.errors import CxrflowError

ERRORS_ONLY = 3  # onnxruntime's log level: its warnings are about its own internals


class DeliveredModel:
    """One model, ready to answer.

    Attributes:
        card: what it says about itself.
    """

    def __init__(self, content: bytes, path: Path, threads: int) -> None:
        """Take the bytes of model.onnx; `path` is named in errors.

        Raises:
            CxrflowError: ONNX Runtime is missing or cannot run it, or its metadata is not ours or not about this graph.
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
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common base but this one
            raise CxrflowError(
                f"{path} cannot be run by ONNX Runtime {onnxruntime.__version__} ({error}): export the model again"
            ) from None
        self.card = card_from_metadata(self._session.get_modelmeta().custom_metadata_map, path)
        n_classes = {output.name: output.shape[-1] for output in self._session.get_outputs()}.get(PROBABILITIES)
        if n_classes != len(self.card.class_names):
            raise CxrflowError(
                f"{path} gives {n_classes} probabilities and names {len(self.card.class_names)} classes: export the"
                " model again"
            )

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Turn preprocessed images, uint8 (n, size_px, size_px), into probabilities, float64 (n, n_classes)."""
        (probabilities,) = self._session.run([PROBABILITIES], {INPUT: images})
        return np.asarray(probabilities)


def open_model(path: Path, threads: int) -> DeliveredModel:
    """Read model.onnx, check its seal, and make it ready.

    Raises:
        CxrflowError: it is missing, damaged, foreign, or of another version.
    """
    return DeliveredModel(read_sealed(path), path, threads)
