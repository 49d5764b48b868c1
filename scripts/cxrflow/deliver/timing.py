"""How long a CPU core takes from an X-ray's file to its answer, by a network as it is delivered.

What is timed is what a user waits for: a PNG of 1024x1024 px is decoded and preprocessed, and ONNX Runtime computes the
exported graph. It is the processor time of one thread, so that other jobs on the machine hardly count.
"""

import time
from collections.abc import Sequence

import cv2
import numpy as np
from torch import nn

from cxrflow.config.settings import PreprocessSettings
from cxrflow.data.decode import decode_image
from cxrflow.data.preprocessing import preprocess_image
from cxrflow.deliver.delivered import INPUT, PROBABILITIES, start_session
from cxrflow.deliver.exporting import trace_networks

SIDE_PX = 1024  # of the NIH's X-rays
GRAIN = 1.5  # SD in grey levels; the PNG then takes 0.4 MB, as the NIH's do, and as long to decode
MAX_MPX = 2.0
WARM_UP = 3


def time_answers(
    networks: Sequence[nn.Module], backbone: str, preprocess: PreprocessSettings, repeats: int, *, flip: bool = False
) -> list[float]:
    """Return the milliseconds of each answer to one X-ray: processor time of one thread.

    networks: in eval mode, the members of an ensemble or one.

    Raises:
        CxrflowError: the package onnx or onnxruntime is missing, or the network has a part that ONNX lacks.
    """
    graph = trace_networks(networks, backbone, preprocess.size_px, flip=flip)
    session = start_session(graph, "the exported network", threads=1)
    content, times_ms = draw_film(), []
    for _ in range(WARM_UP + repeats):
        start = time.process_time()
        image = preprocess_image(decode_image(content, MAX_MPX).gray, preprocess)
        session.run([PROBABILITIES], {INPUT: image[None]})
        times_ms.append(1e3 * (time.process_time() - start))
    return times_ms[WARM_UP:]


def draw_film() -> bytes:
    """Draw a grey ramp with grain, by a fixed seed: the bytes of a PNG of SIDE_PX."""
    ramp = np.linspace(30, 220, SIDE_PX)[:, None]
    film = ramp + np.random.default_rng(0).normal(0, GRAIN, (SIDE_PX, SIDE_PX))
    return cv2.imencode(".png", film.clip(0, 255).astype(np.uint8))[1].tobytes()
