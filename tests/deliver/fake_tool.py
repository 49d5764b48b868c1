"""A tool that decodes for real and invents its answers: the page needs no network to be tested."""

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from cxrflow.config.settings import PreprocessSettings
from cxrflow.deliver.tool import MAX_MPX, Answer, Xray, prepare_xray

SIZE_PX = 64
CLASS_NAMES = ["dark", "middling", 'light, "odd" <b>é</b>']
WARNING = "It is unlike the X-rays that the model was trained on."
SURE = 0.6


class FakeTool:
    """Answers by the mean grey level of an image; counts how often it is asked."""

    def __init__(self) -> None:
        self.n_reads = 0
        self.metadata: dict[str, Any] = {}
        self.grid = (7, 7)
        self.card: Any = SimpleNamespace(
            name="toy/tiny/scratch/base/seed0",
            class_names=CLASS_NAMES,
            notice="Research software.",
            describe=lambda: "toy/tiny, epoch 3, trained on 1,234 images",
        )

    def read(self, name: str, content: bytes, *, pictures: bool = False) -> Answer:
        self.n_reads += 1
        xray = prepare_xray(lambda: content, PreprocessSettings(size_px=SIZE_PX), MAX_MPX, film=pictures)
        if not isinstance(xray, Xray):
            return Answer(name, xray)
        light = float(xray.plain.mean()) / 255
        odds = np.exp(-32 * (np.array([0.2, 0.5, 0.8]) - light) ** 2)
        probabilities = odds / odds.sum()
        heat = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
        cv2.circle(heat, (20, 24), 9, 255, -1)
        return Answer(
            name,
            predicted=CLASS_NAMES[int(probabilities.argmax())] if probabilities.max() > SURE else None,
            probabilities=probabilities,
            warnings=(WARNING,) if light > 0.7 else (),
            film=xray.film,
            heatmap=cv2.GaussianBlur(heat, (15, 15), 0).astype(np.uint8) if pictures else None,
        )
