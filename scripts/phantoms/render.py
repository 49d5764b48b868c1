"""Carry out a task: draw the chest, its sign and its film, and encode the file. Reads and writes nothing."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from phantoms.anatomy import Chest, compose, draw_chest
from phantoms.body import LEFT, RIGHT
from phantoms.film import draw_film, expose
from phantoms.pose import Mask, Pose
from phantoms.signs import SIGNS
from phantoms.tasks import (
    BROKEN,
    DEEP,
    DEEP_12,
    EMPTY,
    HTML,
    RGB,
    RGBA,
    TRUNCATED,
    Box,
    Boxes,
    ImageTask,
    make_rng,
    patient_body,
)

DRAWN_PX = (192, 256)  # longest side of the drawing, as the film within these; it is then resized to the film
LARGE_PX = 520  # films longer than this are drawn at twice the upper size
LUNG_MASK_PX = 256  # as published with COVID-19 Radiography
BOX_FRAME_PX = 1024  # NIH gives boxes in the pixels of its published files
SMALLEST_PART = 0.2  # parts of a lesion under this share of its largest get no box
JPEG_QUALITY = 92
WEB_PAGE = (
    b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Your download needs an account.</body></html>\n"
)


@dataclass(frozen=True)
class Picture:
    """A drawn image.

    Attributes:
        pixels: uint8 (height, width), 0-255.
        lesions: per sign, where it is; bool (height, width).
        lungs: what is seen of both lungs; bool, as large as the drawing.
        heart: the heart; bool, as large as the drawing.
    """

    pixels: NDArray[np.uint8]
    lesions: dict[str, Mask]
    lungs: Mask
    heart: Mask


def draw_picture(task: ImageTask, seed: int, sign_contrast: float = 1.0) -> Picture:
    """Draw a task's image: the same seed and task give the same pixels; `sign_contrast` as in `add_signs`."""
    rng = make_rng(seed, task.dataset, task.label, task.number)
    body = patient_body(seed, task.dataset, task.patient, task.child)
    if task.large_heart:
        body = dataclasses.replace(body, heart_size=body.heart_size * 1.3, heart_tilt=1.0)
    chest = draw_chest(body, draw_pose(task, rng), rng)
    lungs = chest.visible(RIGHT) | chest.visible(LEFT)
    chest, lesions = add_signs(chest, task.signs, rng, sign_contrast)
    density = _resize(compose(chest), task.width_px, task.height_px)
    masks = {name: resize_mask(mask, task.width_px, task.height_px) for name, mask in lesions.items()}
    return Picture(expose(density, draw_film(rng)), masks, lungs, chest.heart > 0.5)


def draw_pose(task: ImageTask, rng: np.random.Generator) -> Pose:
    """Draw how a chest lies on a task's film: centred, upright and filling it, about."""
    longest = max(task.width_px, task.height_px)
    drawn_px = min(max(longest, DRAWN_PX[0]), DRAWN_PX[1]) if longest <= LARGE_PX else 2 * DRAWN_PX[1]
    height, width = (round(side * drawn_px / longest) for side in (task.height_px, task.width_px))
    size = rng.uniform(0.98, 1.14)
    # A wide film shows a chest that is somewhat wide: half of the stretch is the child's, half is more arm beside it.
    return Pose(
        height_px=height,
        width_px=width,
        scale_x_px=np.sqrt(width * height) * size * rng.uniform(0.96, 1.04),
        scale_y_px=height * size,
        angle_rad=rng.normal(0, 0.035),
        shift=(rng.normal(0, 0.018), rng.normal(0.005, 0.015)),
        bend=(rng.uniform(0, 0.012), rng.uniform(0, 6.3), rng.uniform(0, 0.008), rng.uniform(0, 6.3)),
    )


def add_signs(
    chest: Chest, signs: tuple[str, ...], rng: np.random.Generator, contrast: float = 1.0
) -> tuple[Chest, dict[str, Mask]]:
    """Draw signs into a chest, one after the other; return it with each one's mask.

    What a sign changes in the lung's density is multiplied by `contrast`; where it lies stays as it is.
    """
    lesions = {}
    for name in signs:
        drawn, lesions[name] = SIGNS[name](chest, rng)
        lung = np.clip(chest.lung + np.float32(contrast) * (drawn.lung - chest.lung), 0, None)
        chest = dataclasses.replace(drawn, lung=lung)
    return chest, lesions


def encode_image(pixels: NDArray[np.uint8], task: ImageTask) -> bytes:
    """Return the file of an image in the task's format and form, whole or broken as the form says."""
    if task.form == EMPTY:
        return b""
    if task.form == HTML:
        return WEB_PAGE
    suffix = "." + task.path.rsplit(".", 1)[1]
    data = _encode(suffix, _store(pixels, task.form))
    return data[: int(0.6 * len(data))] if task.form == TRUNCATED else data


def _store(pixels: NDArray[np.uint8], form: str) -> NDArray[np.integer[Any]]:
    """Return the array to encode: as many channels and bits as the form has."""
    if form == RGB:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR))
    if form == RGBA:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGRA))  # its alpha is 255
    if form == DEEP:
        return pixels.astype(np.uint16) * 257  # 0-65535
    if form == DEEP_12:
        return pixels.astype(np.uint16) * 16  # a 12-bit detector's 0-4080 in a 16-bit file
    return pixels


def _encode(suffix: str, array: NDArray[np.integer[Any]]) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if suffix == ".jpeg" else [cv2.IMWRITE_PNG_COMPRESSION, 1]
    done, data = cv2.imencode(suffix, array, options)
    if not done:
        raise RuntimeError(f"cv2 could not encode {array.dtype} {array.shape} as {suffix}")
    return data.tobytes()


def encode_lesion(picture: Picture) -> bytes:
    """Return the lesion mask as 8-bit PNG: 255 where any sign is."""
    union = np.any(list(picture.lesions.values()), axis=0)
    return _encode(".png", union.astype(np.uint8) * np.uint8(255))


def encode_lungs(picture: Picture) -> bytes:
    """Return the lung mask as COVID-19 Radiography publishes it: 256x256 px, 3 equal channels."""
    mask = resize_mask(picture.lungs, LUNG_MASK_PX, LUNG_MASK_PX).astype(np.uint8) * np.uint8(255)
    return _encode(".png", np.asarray(cv2.cvtColor(mask, cv2.COLOR_GRAY2BGR)))


def encode_task(task: ImageTask, seed: int, sign_contrast: float = 1.0) -> tuple[dict[str, bytes], Boxes]:
    """Draw a task; return {path in the phantoms' folder: bytes} and, if it is boxed, the boxes of signs and heart."""
    if task.form in BROKEN and task.form != TRUNCATED:
        return {task.files[0]: encode_image(np.zeros((1, 1), np.uint8), task)}, {}
    picture = draw_picture(task, seed, sign_contrast)
    files = {f"{task.dataset}/{task.path}": encode_image(picture.pixels, task)}
    if task.lesion_path:
        files[f"{task.dataset}/{task.lesion_path}"] = encode_lesion(picture)
    if task.lungs_path:
        files[f"{task.dataset}/{task.lungs_path}"] = encode_lungs(picture)
    marked = {**picture.lesions, "heart": picture.heart} if task.boxed else {}
    return files, {name: mask_boxes(mask) for name, mask in marked.items()}


def mask_boxes(mask: Mask) -> list[Box]:
    """Return the bounding boxes of a mask's parts, largest first, in a frame of 1024x1024 px as NIH gives them."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    parts = sorted(stats[1:].tolist(), key=lambda part: -part[cv2.CC_STAT_AREA])
    kept = [part for part in parts if part[cv2.CC_STAT_AREA] >= SMALLEST_PART * parts[0][cv2.CC_STAT_AREA]]
    across, down = BOX_FRAME_PX / mask.shape[1], BOX_FRAME_PX / mask.shape[0]
    return [(x * across, y * down, width * across, height * down) for x, y, width, height, _ in kept]


def resize_mask(mask: Mask, width_px: int, height_px: int) -> Mask:
    """Resize a mask to another size; a pixel is inside where at least half of it is."""
    return _resize(mask.astype(np.float32), width_px, height_px) >= 0.5


def _resize(layer: NDArray[np.float32], width_px: int, height_px: int) -> NDArray[np.float32]:
    if layer.shape == (height_px, width_px):
        return layer
    method = cv2.INTER_AREA if width_px < layer.shape[1] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(layer, (width_px, height_px), interpolation=method), np.float32)
