"""What is to be drawn: one task per image, made by the layouts and carried out by render.py."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from phantoms.body import Body, draw_body

KEPT = "kept"  # the study's rule selects it and its file is whole
DROPPED = "dropped_by_rule"
UNREADABLE = "unreadable"
ABSENT = "absent"  # listed in a table, and no file: what a partial download leaves

SHORTEST_SIDE_PX = 128  # no image is drawn smaller than this on any side

# Forms of a file: the mode that Pillow names, or what is wrong with it.
GRAY, RGB, RGBA, DEEP, DEEP_12 = "L", "RGB", "RGBA", "16_bit", "12_bit_in_16"
TRUNCATED, EMPTY, HTML = "truncated_jpeg", "empty_file", "html_page"
BROKEN = (TRUNCATED, EMPTY, HTML)
DEFECTS = (RGBA, DEEP, DEEP_12, *BROKEN)
COPY = "copy"


@dataclass(frozen=True)
class ImageTask:
    """One image to draw; its bytes follow from the seed, `dataset`, `label`, `number`, `patient` and how it is stored.

    Attributes:
        dataset: folder below the phantoms' folder.
        path: of the image, relative to that dataset's folder.
        label: class, or the findings as the dataset's table writes them where the rule drops the image.
        fate: kept, dropped_by_rule or unreadable.
        signs: names from `SIGNS`, drawn one after the other.
        patient: number of the patient within the dataset; images of one patient show the same body.
        number: of the image within the dataset; copies share it.
        width_px, height_px: of the file.
        form: L, RGB, RGBA, 16_bit, 12_bit_in_16, truncated_jpeg, empty_file or html_page.
        child: a young child's chest.
        large_heart: cardiomegaly.
        lesion_path: where the lesion's mask goes, relative to the dataset's folder; empty for none.
        lungs_path: where the lungs' mask goes; empty for none.
        boxed: the dataset's table gives a box for it.
        copy_of: path of the image that this one copies byte for byte; empty for none.
    """

    dataset: str
    path: str
    label: str
    fate: str
    signs: tuple[str, ...]
    patient: int
    number: int
    width_px: int
    height_px: int
    form: str = GRAY
    child: bool = False
    large_heart: bool = False
    lesion_path: str = ""
    lungs_path: str = ""
    boxed: bool = False
    copy_of: str = ""

    @property
    def files(self) -> list[str]:
        """Every file that this task writes, relative to the phantoms' folder."""
        return [f"{self.dataset}/{path}" for path in (self.path, self.lesion_path, self.lungs_path) if path]

    @property
    def defect(self) -> str:
        """What is odd about the file, or empty."""
        return COPY if self.copy_of else self.form if self.form in DEFECTS else ""


def make_rng(seed: int, *keys: str | int) -> np.random.Generator:
    """Return the generator of one thing: equal seed and keys give equal draws, on any number of processes."""
    words = [key if isinstance(key, int) else zlib.crc32(key.encode()) for key in keys]
    return np.random.default_rng([seed, *words])


def patient_body(seed: int, dataset: str, patient: int, child: bool) -> Body:
    """Return a patient's body; the same in every image of the patient."""
    return draw_body(make_rng(seed, dataset, "patient", patient), child)


def scale_side(published_px: float, size_scale: float) -> int:
    """Return a side in pixels at `size_scale`, never under `SHORTEST_SIDE_PX`."""
    return max(SHORTEST_SIDE_PX, round(published_px * size_scale))


def lesion_path(image_path: str) -> str:
    """Return where the lesion's mask of an image goes: lesion_masks/<file stem>.png."""
    stem = image_path.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    return f"lesion_masks/{stem}.png"


Box = tuple[float, float, float, float]  # x, y, width, height
Boxes = dict[str, list[Box]]  # of each sign, and of the heart


@dataclass(frozen=True)
class Plan:
    """One dataset to draw.

    Attributes:
        tasks: its images.
        absent: images that a table lists and that are not drawn, per label.
        tables: paths of its tables, relative to the dataset's folder.
        write_tables: given the boxes of each image path, the text of each table in `tables`.
    """

    tasks: list[ImageTask]
    absent: dict[str, int] = field(default_factory=dict)
    tables: tuple[str, ...] = ()
    write_tables: Callable[[dict[str, Boxes]], tuple[str, ...]] = lambda boxes: ()
