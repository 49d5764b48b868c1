"""Pictures that a delivered tool must not take for the X-rays of its training: drawn by code, or X-rays changed.

Each function gives grey levels, uint8 (H, W), or colours, uint8 (H, W, 3), as a file would hold them.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
SIDE_PX = 320


def _round(picture: object) -> Picture:
    return np.clip(np.asarray(picture), 0, 255).astype(np.uint8)


def draw_noise(generator: np.random.Generator) -> Picture:
    """White noise, or noise that is blurred to clouds."""
    noise = generator.normal(size=(SIDE_PX, SIDE_PX))
    if generator.random() < 0.5:
        noise = cv2.GaussianBlur(noise, (0, 0), float(generator.uniform(2, 30)))
    return _round(128 + 60 * noise / noise.std())


def draw_black_square(generator: np.random.Generator) -> Picture:
    """A black picture with a little noise, as of a closed shutter: with less, no decoder takes it."""
    return _round(generator.integers(0, 6, (SIDE_PX, SIDE_PX)))


def draw_screenshot(generator: np.random.Generator) -> Picture:
    """Windows with lines of text on a plain desktop."""
    picture = np.full((SIDE_PX, SIDE_PX * 3 // 2), int(generator.integers(0, 256)), np.uint8)
    for _ in range(int(generator.integers(1, 4))):
        x, y = (int(v) for v in generator.integers(0, 150, 2))
        width, height = (int(v) for v in generator.integers(100, 300, 2))
        paper, ink = (int(v) for v in generator.permutation([generator.integers(0, 60), generator.integers(190, 256)]))
        cv2.rectangle(picture, (x, y), (x + width, y + height), paper, -1)
        for line in range(y + 15, y + height, 14):
            text = "".join(generator.choice([*"aeinorst   "], int(generator.integers(5, width // 8 + 6))))
            cv2.putText(picture, text, (x + 5, line), cv2.FONT_HERSHEY_SIMPLEX, 0.4, ink)
    return picture


def draw_photograph(generator: np.random.Generator) -> Picture:
    """Sky, ground and round things in colours, softened."""
    height, width = SIDE_PX, SIDE_PX * 4 // 3
    fade = np.linspace(0, 1, height)[:, None, None]
    sky, ground = (generator.uniform(40, 255, 3) for _ in range(2))
    picture = np.ascontiguousarray(np.broadcast_to(sky * (1 - fade) + ground * fade, (height, width, 3)))
    for _ in range(int(generator.integers(3, 15))):
        centre = (int(generator.integers(0, width)), int(generator.integers(height // 4, height)))
        axes = tuple(int(v) for v in generator.integers(10, 110, 2))
        cv2.ellipse(picture, centre, axes, float(generator.uniform(0, 180)), 0, 360, generator.uniform(0, 255, 3), -1)
    return _round(cv2.GaussianBlur(picture, (0, 0), 2) + generator.normal(0, 6, picture.shape))


def draw_gray_photograph(generator: np.random.Generator) -> Picture:
    """The same without colours."""
    return np.asarray(cv2.cvtColor(draw_photograph(generator), cv2.COLOR_BGR2GRAY), np.uint8)


def draw_lateral(generator: np.random.Generator) -> Picture:
    """A chest from the side, roughly: one dark oval of lung, spine behind it, heart in front, arms up."""
    picture = np.full((SIDE_PX, SIDE_PX), 10.0)
    shift = generator.uniform(-15, 15, 2)
    mirror = 1 if generator.random() < 0.5 else -1

    def add(x: float, y: float, across: float, up: float, turn: float, grey: float) -> None:
        centre = (int(160 + mirror * x + shift[0]), int(y + shift[1]))
        shape = np.zeros_like(picture)
        cv2.ellipse(shape, centre, (int(across), int(up)), mirror * turn, 0, 360, grey, -1)
        picture[:] += cv2.GaussianBlur(shape, (0, 0), 5)

    add(0, 190, 105, 190, 0, 130)  # trunk
    add(0, 160, 70, 105, 12, -90)  # lungs
    add(75, 180, 16, 160, 6, 60)  # spine
    add(-25, 205, 45, 45, 25, 70)  # heart
    add(-10, 300, 110, 55, -8, 60)  # below the diaphragm
    add(-20, 20, 60, 30, 20, 60)  # arms
    return _round(picture + generator.normal(0, 5, picture.shape))


DRAWN: dict[str, Callable[[np.random.Generator], Picture]] = {
    "black square": draw_black_square,
    "noise": draw_noise,
    "screenshot": draw_screenshot,
    "photograph in colour": draw_photograph,
    "photograph in grey": draw_gray_photograph,
    "drawn lateral view": draw_lateral,
}


def _cut(gray: Picture, generator: np.random.Generator) -> Picture:
    """Keep half of an X-ray's width or height, as where a plate was placed wrongly."""
    height, width = gray.shape
    return [
        gray[:, : width // 2],
        gray[:, width // 2 :],
        gray[: height // 2],
        gray[height // 2 :],
    ][int(generator.integers(4))]


CHANGED: dict[str, Callable[[Picture, np.random.Generator], Picture]] = {
    "turned by 90": lambda gray, _: np.ascontiguousarray(np.rot90(gray)),
    "turned by 270": lambda gray, _: np.ascontiguousarray(np.rot90(gray, 3)),
    "turned by 180": lambda gray, _: np.ascontiguousarray(gray[::-1, ::-1]),
    "inverted": lambda gray, _: 255 - gray,
    "half of it": _cut,
}
