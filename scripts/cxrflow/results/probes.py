"""Fit the classifiers of `config/probes.py` on the train subset and predict the test subset: no network, no tuning.

The thumbnail, its classifier and its regularization are those with which a logistic regression was found to score above
MobileNetV3 on small sets of real X-rays; the settings were fixed before, and nothing here is chosen by a score.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrflow.data.reading import map_in_threads
from cxrflow.files.formats import KINDS
from cxrflow.files.records import IndexRow, LungsRow, Predictions, RegionRow
from cxrflow.models.batches import SplitImages
from cxrflow.results.explaining import cover_box, cover_regions, group_regions

THUMBNAIL_PX = 16
FRAME_PX = 64  # a larger image is shrunk to this side before its frame is taken
FRAME_SHARE = 6 / 64  # of the side
REGULARIZATION = 0.01  # scikit-learn's C
FACTS = ("view", "sex", "age_years", "follow_up")  # of `IndexRow.facts`
GREY_BINS = 32
LUNGS_PX = 32  # side of the masks that are kept: 1 kB for an image
BOX_MARGIN = 0.1  # of the box's width and height, on every side
LUNG_PROBES = ("silhouette", "lungless")
LEAST_DICE = 0.8  # where its interval ends below, the network does not find the lungs; set beforehand
MOST_MISSED = 0.1  # of a dataset's images, in which it finds none
Floats = NDArray[np.float32]
Lungs = Mapping[str, NDArray[np.uint8]]  # {image_id: uint8 (LUNGS_PX, LUNGS_PX), 0-255: how much of a pixel is lung}


@dataclass(frozen=True)
class Seen:
    """What a probe may look at.

    Attributes:
        packed: uint8 (N, H, W), memory-mapped; whole sets are not copied.
        numbers: int64 (n,), its images among them.
        rows: of the index, one per image of its own.
        lungs: the masks of the dataset.
    """

    packed: NDArray[np.uint8]
    numbers: NDArray[np.int64]
    rows: Sequence[IndexRow]
    lungs: Lungs

    def images(self) -> Iterator[NDArray[np.uint8]]:
        """Yield its images, uint8 (H, W)."""
        return (self.packed[number] for number in self.numbers)


def fit_probe(
    name: str, data: SplitImages, test: SplitImages, index: Mapping[str, IndexRow], lungs: Lungs | None = None
) -> Predictions:
    """Fit one of PROBES on the train rows of `data` and predict the test rows of `test`.

    index: the dataset's rows by image_id.
    lungs: for the probes that need them; an image that they lack is left out.
    """
    train, tested = data.rows["train"], test.rows["test"]
    if name in LUNG_PROBES:
        train, tested = (
            np.array([row for row in rows if of.image_ids[row] in (lungs or {})], np.int64)
            for rows, of in ((train, data), (tested, test))
        )
    fit = Seen(data.images, train, [index[data.image_ids[row]] for row in train], lungs or {})
    predict = Seen(test.images, tested, [index[test.image_ids[row]] for row in tested], lungs or {})
    take, make_classifier = _PROBES[name]
    classifier = make_classifier()
    classifier.fit(take(fit), data.labels[train])
    found = classifier.predict_proba(take(predict))
    probabilities = np.zeros((len(tested), len(data.class_names)))
    probabilities[:, classifier.classes_] = found / found.sum(axis=1, keepdims=True)
    image_ids, patient_ids = ([ids[row] for row in tested] for ids in (test.image_ids, test.patient_ids))
    return Predictions(image_ids, patient_ids, test.labels[tested], probabilities, data.class_names)


def explain_absence(name: str, index: Iterable[IndexRow], no_lungs: str = "") -> str:
    """Return why a probe cannot be fitted on these images, a phrase; empty where it can.

    no_lungs: why it is not known where the lungs are; empty where it is.
    """
    if name == "metadata" and not any(row.facts.keys() & set(FACTS) for row in index):
        return "the dataset's table has no view, sex, age or follow-up number"
    return no_lungs if name in LUNG_PROBES else ""


def choose_lungs(
    index: Sequence[IndexRow], shipped: Lungs, found: Iterable[LungsRow], scores: Mapping[str, Any]
) -> tuple[Lungs, str, str]:
    """Return where the lungs are, how that is known, and why it is not: the dataset's masks, or a network's boxes.

    found, scores: the rows of lungs.csv of this dataset, and lungs.json.
    The last two are phrases, empty where the masks are the dataset's own or there is nothing to explain. Where masks
    lack in a part of the images all are the network's: whether an image has one may tell its class.
    """
    without = sum(row.image_id not in shipped for row in index)
    if not without:
        return shipped, "", ""
    lacking = f"{without:,} of {len(index):,} images have no lung mask" if shipped else "the dataset has no lung masks"
    if scores.get("absent"):
        return {}, "", f"{lacking}, and {scores['absent']}"
    dice = scores["dice"]
    shown = KINDS["score"].show_interval(dice["value"], dice["low"], dice["high"], dice["n_patients"])
    tested = f"Dice {shown} on {scores['n_tested']:,} held-out images of {', '.join(scores['datasets'])}"
    if dice["low"] is None or dice["low"] < LEAST_DICE:
        return {}, "", f"{lacking}, and the U-Net that looks for the lungs is not sure enough, {tested}"
    boxes = {row.image_id: row for row in found if row.width}
    lungs = {row.image_id: _paint_box(boxes[row.image_id], row) for row in index if row.image_id in boxes}
    n_missed = len(index) - len(lungs)
    if n_missed > MOST_MISSED * len(index):
        return {}, "", f"{lacking}, and the U-Net finds no lungs in {n_missed:,} of {len(index):,} images"
    left_out = f"; {n_missed:,} of {len(index):,} images left out, where it found none" if n_missed else ""
    return lungs, f"box around the lungs by a U-Net, {tested}, unchecked on these{left_out}", ""


def _paint_box(box: LungsRow, image: IndexRow) -> NDArray[np.uint8]:
    x_px, width_px = box.x * image.width, box.width * image.width
    y_px, height_px = box.y * image.height, box.height * image.height
    region = RegionRow(image.image_id, "lungs", x_px, y_px, width_px, height_px, mask_path="")
    return np.rint(255 * cover_box(region, image, LUNGS_PX)).astype(np.uint8)


def read_lungs(
    index: Sequence[IndexRow], regions: Iterable[RegionRow], folder: Path, threads: int, side_px: int = LUNGS_PX
) -> Lungs:
    """Return the lungs of every image that has them annotated, on the square that a network sees.

    Each uint8 (side_px, side_px), 0-255.

    Raises:
        CxrflowError: a mask is missing, changed, empty or cannot be read.
    """
    by_image = {image_id: kinds["lungs"] for image_id, kinds in group_regions(regions).items() if "lungs" in kinds}
    annotated = [row for row in index if row.image_id in by_image]

    def read(row: IndexRow) -> NDArray[np.uint8]:
        return np.rint(255 * cover_regions(by_image[row.image_id], row, folder, side_px)).astype(np.uint8)

    return dict(zip((row.image_id for row in annotated), map_in_threads(read, annotated, threads), strict=True))


def take_nothing(seen: Seen) -> Floats:
    """Return float32 (n, 1), zeros."""
    return np.zeros((len(seen.rows), 1), np.float32)


def take_thumbnail(seen: Seen) -> Floats:
    """Return the images shrunk to THUMBNAIL_PX: float32 (n, 256), 0-255."""
    return _shrink(seen.images(), THUMBNAIL_PX).reshape(len(seen.rows), -1)


def take_frame(seen: Seen) -> Floats:
    """Return the outer frame of the images: float32 (n, n_pixels), 0-255."""
    side = min(FRAME_PX, *seen.packed.shape[1:])
    width = round(FRAME_SHARE * side)
    outside = np.ones((side, side), np.bool_)
    outside[width:-width, width:-width] = False
    return _shrink(seen.images(), side)[:, outside]


def take_histogram(seen: Seen) -> Floats:
    """Return the share of pixels in each of GREY_BINS ranges of grey values: float32 (n, GREY_BINS)."""
    bins = [
        np.bincount(image.ravel() // (256 // GREY_BINS), minlength=GREY_BINS) / image.size for image in seen.images()
    ]
    return np.array(bins, np.float32)


def take_silhouette(seen: Seen) -> Floats:
    """Return where the lungs are and nothing of what is in them: float32 (n, LUNGS_PX**2), 0 or 1."""
    return np.array([seen.lungs[row.image_id].ravel() > 127 for row in seen.rows], np.float32)


def take_lungless(seen: Seen) -> Floats:
    """Return thumbnails of the images without their lungs: float32 (n, 256), 0-255.

    What is black is the box around both lungs, wider by BOX_MARGIN on every side, not the mask: its outline may tell
    the classes (Maguolo & Nanni 2021, Inf. Fusion 76:1-7, cover the lungs and train again).
    """

    def cover(image: NDArray[np.uint8], row: IndexRow) -> NDArray[np.uint8]:
        covered = image.copy()
        covered[box_lungs(seen.lungs[row.image_id], *image.shape)] = 0
        return covered

    return _shrink(map(cover, seen.images(), seen.rows), THUMBNAIL_PX).reshape(len(seen.rows), -1)


def box_lungs(mask: NDArray[np.uint8], height: int, width: int) -> tuple[slice, slice]:
    """Return the box around a mask, wider by BOX_MARGIN on every side, in an image of another size: rows, columns."""

    def span(inside: Any, length: int) -> slice:
        first, last = np.flatnonzero(inside)[[0, -1]]
        margin = BOX_MARGIN * (last + 1 - first)
        start, stop = (length / len(inside) * end for end in (first - margin, last + 1 + margin))
        return slice(max(0, int(np.floor(start))), min(length, int(np.ceil(stop))))

    return span(mask.any(axis=1), height), span(mask.any(axis=0), width)


def take_metadata(seen: Seen) -> Floats:
    """Return what the index knows of each image beside its pixels: float32 (n, n_facts), -1 where it is unknown.

    Numbers as they are; words, such as F and M, as the number that their first two bytes make: trees need no order.
    """
    return np.array([[_read_fact(row.facts.get(name, "")) for name in FACTS] for row in seen.rows], np.float32)


def take_header(seen: Seen) -> Floats:
    """Return what the file is, before it is opened: float32 (n, 5): bytes, width, height, bytes per pixel and mode."""
    return np.array(
        [
            (row.size_bytes, row.width, row.height, row.size_bytes / (row.width * row.height), _read_fact(row.mode))
            for row in seen.rows
        ],
        np.float32,
    )


def _read_fact(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float(int.from_bytes(text.encode()[:2], "big")) if text else -1.0


def _shrink(images: Iterable[NDArray[np.uint8]], side: int) -> Floats:
    small = [cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in images]
    return np.array(small, np.float32)


def _make_constant() -> Any:
    from sklearn.dummy import DummyClassifier

    return DummyClassifier(strategy="prior")


def _make_regression() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regression = LogisticRegression(C=REGULARIZATION, class_weight="balanced", max_iter=1000)
    return make_pipeline(StandardScaler(), regression)


def _make_trees() -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(class_weight="balanced", early_stopping=False, random_state=0)


Take = Callable[[Seen], Floats]
_PROBES: dict[str, tuple[Take, Callable[[], Any]]] = {
    "majority": (take_nothing, _make_constant),
    "thumbnail": (take_thumbnail, _make_regression),
    "frame": (take_frame, _make_regression),
    "metadata": (take_metadata, _make_trees),
    "histogram": (take_histogram, _make_regression),
    "header": (take_header, _make_trees),
    "silhouette": (take_silhouette, _make_regression),
    "lungless": (take_lungless, _make_regression),
}
