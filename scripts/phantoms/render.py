"""One task per synthetic X-ray, and how it is carried out: chest, sign, film, and the encoded file. Pure functions."""

import dataclasses
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from phantoms.anatomy import Chest, build_chest, compose
from phantoms.body import Body, sample_body
from phantoms.film import expose, sample_film
from phantoms.pose import Mask, Pose
from phantoms.signs import SIGNS

SHORTEST_SIDE_PX = 128  # no image is smaller than this on any side


class Fate(StrEnum):
    """What becomes of an image in the study."""

    KEPT = "kept"  # the study's rule selects it and its file is whole
    DROPPED = "dropped_by_rule"
    UNREADABLE = "unreadable"
    ABSENT = "absent"  # listed in a table, and no file: what a partial download leaves


class Form(StrEnum):
    """How a file is stored: the mode that Pillow names, or what is wrong with it."""

    GRAY = "L"
    RGB = "RGB"
    RGBA = "RGBA"
    DEEP = "16_bit"
    DEEP_12 = "12_bit_in_16"
    TRUNCATED = "truncated_jpeg"
    EMPTY = "empty_file"
    HTML = "html_page"


SEEN = (Fate.KEPT, Fate.DROPPED)  # fates of images that are whole

CANVAS_PX = (192, 256)  # longest side of the canvas, as the film within these; it is then resized to the film
LARGE_PX = 520  # films longer than this get a canvas of twice the upper size
LUNG_MASK_PX = 256  # as published with COVID-19 Radiography
BOX_FRAME_PX = 1024  # NIH gives boxes in the pixels of its published files
SMALLEST_PART = 0.2  # parts of a lesion under this share of its largest get no box
JPEG_QUALITY = 92
UNDRAWN = {  # what stands in the place of an image
    Form.EMPTY: b"",
    Form.HTML: b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head>"
    b"<body>Your download needs an account.</body></html>\n",
}

Box = tuple[float, float, float, float]  # x, y, width, height
Boxes = dict[str, list[Box]]  # of each sign, and of the heart


@dataclass(frozen=True)
class ImageTask:
    """One image to synthesise; its bytes follow from the seed, `dataset`, `label`, `number`, `patient` and `form`."""

    dataset: str  # folder below the phantoms' folder; paths are relative to it
    path: str
    label: str  # class, or the findings as the dataset's table writes them where the rule drops the image
    fate: Fate
    signs: tuple[str, ...]  # names from `SIGNS`, added one after the other
    patient: int  # within the dataset; images of one patient show the same body
    number: int  # within the dataset; copies share it
    width_px: int  # of the file
    height_px: int
    form: Form = Form.GRAY
    child: bool = False  # a young child's chest
    large_heart: bool = False  # cardiomegaly
    lungs_path: str = ""  # where the lungs' mask goes; empty for none
    boxed: bool = False  # the dataset's table gives a box for it
    copy_of: str = ""  # path of the image that this one copies byte for byte; empty for none

    @property
    def lesion_path(self) -> str:
        """Where the lesion's mask goes, relative to the dataset's folder; empty where no sign can be seen."""
        return f"lesion_masks/{PurePath(self.path).stem}.png" if self.signs and self.fate in SEEN else ""

    @property
    def files(self) -> list[str]:
        """Every file that this task writes, relative to the phantoms' folder."""
        paths = (self.path, self.lesion_path, self.lungs_path) if self.fate != Fate.ABSENT else ()
        return [f"{self.dataset}/{path}" for path in paths if path]

    @property
    def defect(self) -> str:
        """What is odd about the file, or empty."""
        return "copy" if self.copy_of else self.form if self.form not in (Form.GRAY, Form.RGB) else ""

    def copied_to(self, other: "ImageTask") -> "ImageTask":
        """Return the task of writing the same bytes under the paths of another one."""
        return dataclasses.replace(self, path=other.path, lungs_path=other.lungs_path, copy_of=self.path)


def make_rng(seed: int, *keys: str | int) -> np.random.Generator:
    """Return the generator of one thing: equal seed and keys give equal numbers, on any number of processes."""
    words = [key if isinstance(key, int) else zlib.crc32(key.encode()) for key in keys]
    return np.random.default_rng([seed, *words])


def patient_body(seed: int, dataset: str, patient: int, child: bool) -> Body:
    """Return a patient's body; the same in every image of the patient."""
    return sample_body(make_rng(seed, dataset, "patient", patient), child)


def scale_side(published_px: float, size_scale: float) -> int:
    """Return a side in pixels at `size_scale`, never under `SHORTEST_SIDE_PX`."""
    return max(SHORTEST_SIDE_PX, round(published_px * size_scale))


@dataclass(frozen=True)
class PhantomSet:
    """One dataset to synthesise."""

    tasks: list[ImageTask]  # its images, those included that a table lists and that do not exist
    # Path of each table, relative to the dataset's folder, and its text, given the boxes of each image path.
    tables: dict[str, Callable[[dict[str, Boxes]], str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Phantom:
    """A synthetic X-ray and what is known about it."""

    pixels: NDArray[np.uint8]  # (height, width), 0-255
    lesions: dict[str, Mask]  # per sign, where it is; (height, width)
    lungs: Mask  # what is seen of both lungs; as large as the canvas
    heart: Mask  # as large as the canvas


def synthesise_image(task: ImageTask, seed: int, sign_contrast: float = 1.0) -> Phantom:
    """Synthesise a task's image: the same seed and task give the same pixels; `sign_contrast` as in `add_signs`."""
    rng = make_rng(seed, task.dataset, task.label, task.number)
    body = patient_body(seed, task.dataset, task.patient, task.child)
    if task.large_heart:
        body = dataclasses.replace(body, heart_size=body.heart_size * 1.3, heart_tilt=1.0)
    chest = build_chest(body, sample_pose(task, rng), rng)
    lungs = chest.lungs
    chest, lesions = add_signs(chest, task.signs, rng, sign_contrast)
    density = _resize(compose(chest), task.width_px, task.height_px)
    masks = {name: resize_mask(mask, task.width_px, task.height_px) for name, mask in lesions.items()}
    return Phantom(expose(density, sample_film(rng)), masks, lungs, chest.heart > 0.5)


def sample_pose(task: ImageTask, rng: np.random.Generator) -> Pose:
    """Sample how a chest lies on a task's film: centred, upright and filling it, about."""
    longest = max(task.width_px, task.height_px)
    canvas_px = min(max(longest, CANVAS_PX[0]), CANVAS_PX[1]) if longest <= LARGE_PX else 2 * CANVAS_PX[1]
    height, width = (round(side * canvas_px / longest) for side in (task.height_px, task.width_px))
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
    """Add signs to a chest, one after the other; return it with each one's mask.

    What a sign changes in the lung's density is multiplied by `contrast`; where it lies stays as it is.
    """
    lesions = {}
    for name in signs:
        sick, lesions[name] = SIGNS[name](chest, rng)
        lung = np.clip(chest.lung + np.float32(contrast) * (sick.lung - chest.lung), 0, None)
        chest = dataclasses.replace(sick, lung=lung)
    return chest, lesions


CHANNELS = {Form.RGB: cv2.COLOR_GRAY2BGR, Form.RGBA: cv2.COLOR_GRAY2BGRA}  # the alpha is 255
FACTORS = {Form.DEEP: 257, Form.DEEP_12: 16}  # in a 16-bit file: 0-65535, and a 12-bit detector's 0-4080


def encode_image(pixels: NDArray[np.uint8], task: ImageTask) -> bytes:
    """Return the file of an image in the task's format and form, whole or cut off as the form says."""
    stored: Any = pixels
    if task.form in CHANNELS:
        stored = cv2.cvtColor(pixels, CHANNELS[task.form])
    elif task.form in FACTORS:
        stored = pixels.astype(np.uint16) * FACTORS[task.form]
    data = _encode(PurePath(task.path).suffix, stored)
    return data[: int(0.6 * len(data))] if task.form == Form.TRUNCATED else data


def _encode(suffix: str, array: NDArray[np.integer[Any]]) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if suffix == ".jpeg" else [cv2.IMWRITE_PNG_COMPRESSION, 1]
    done, data = cv2.imencode(suffix, array, options)
    if not done:
        raise RuntimeError(f"cv2 could not encode {array.dtype} {array.shape} as {suffix}")
    return data.tobytes()


def encode_task(task: ImageTask, seed: int, sign_contrast: float = 1.0) -> tuple[dict[str, bytes], Boxes]:
    """Return a task's files, {path in the folder: bytes}, and, if it is boxed, the boxes of signs and heart."""
    if task.fate == Fate.ABSENT:
        return {}, {}
    if task.form in UNDRAWN:
        return {task.files[0]: UNDRAWN[task.form]}, {}
    phantom = synthesise_image(task, seed, sign_contrast)
    files = {f"{task.dataset}/{task.path}": encode_image(phantom.pixels, task)}
    if task.lesion_path:
        union = np.any(list(phantom.lesions.values()), axis=0)
        files[f"{task.dataset}/{task.lesion_path}"] = _encode(".png", union * np.uint8(255))
    if task.lungs_path:  # as COVID-19 Radiography publishes it: 256x256 px, 3 equal channels
        lungs = resize_mask(phantom.lungs, LUNG_MASK_PX, LUNG_MASK_PX) * np.uint8(255)
        files[f"{task.dataset}/{task.lungs_path}"] = _encode(".png", np.dstack([lungs] * 3))
    marked = {**phantom.lesions, "heart": phantom.heart} if task.boxed else {}
    return files, {name: mask_boxes(mask) for name, mask in marked.items()}


def mask_boxes(mask: Mask) -> list[Box]:
    """Return the bounding boxes of a mask's parts, largest first, in a frame of 1024x1024 px as NIH gives them."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    parts = sorted(stats[1:].tolist(), key=lambda part: -part[cv2.CC_STAT_AREA])
    kept = [part for part in parts if part[cv2.CC_STAT_AREA] >= SMALLEST_PART * parts[0][cv2.CC_STAT_AREA]]
    across, down = BOX_FRAME_PX / mask.shape[1], BOX_FRAME_PX / mask.shape[0]
    return [(x * across, y * down, width * across, height * down) for x, y, width, height, _ in kept]


def resize_mask(mask: Mask, width_px: int, height_px: int) -> Mask:
    """Resize a mask; a pixel is inside where at least half of it is."""
    return _resize(mask.astype(np.float32), width_px, height_px) >= 0.5


def _resize(layer: NDArray[np.float32], width_px: int, height_px: int) -> NDArray[np.float32]:
    if layer.shape == (height_px, width_px):
        return layer
    method = cv2.INTER_AREA if width_px < layer.shape[1] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(layer, (width_px, height_px), interpolation=method), np.float32)
