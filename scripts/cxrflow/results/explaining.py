"""Where a model looks, scored: how much of the map of an image's true class lies in what is annotated on it.

Two numbers per image and kind of region. The inside share is the share of the map's sum that lies in the region
(the energy-based pointing game, Wang et al. 2020, Score-CAM, CVPR workshops). A hit is a map whose maximum lies in the
region (the pointing game, Zhang et al. 2018, Top-down Neural Attention by Excitation Backprop, IJCV 126); where several
pixels are the maximum, the share of them that does. Both take the map of the true class. Zhang et al. allow 15 px
around objects of photographs; here the tolerance is 0, because 15 of 224 px is as large as many a lesion.

Neither number means anything alone: a few coarse cells, or the middle of every chest, hit a lesion often enough. So
the same is given of maps that know nothing of the image: random ones, of as many cells, enlarged and read in the same
way; and one fixed place, the mean region of the images that the model was fitted on. A uniform map scores the
region's share of the image, which is also the inside share that random maps have on average.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cxrflow.data.headers import read_orientation, turn_upright
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import sha256_bytes
from cxrflow.files.records import IndexRow, LocalizationRow, Predictions, RegionRow
from cxrflow.models.batches import SplitImages
from cxrflow.results.enlarging import Map, enlarge
from cxrflow.results.gradcam import MapLayer, iterate_maps

Coverage = NDArray[np.float32]  # float32 (h, w), 0-1: the share of each pixel that lies in an annotated region

N_RANDOM = 1000  # random maps; at 12x12 cells each is the hottest 7 times
TIE = 1e-6  # values this close to the maximum, relative to it, are equal to it


@dataclass(frozen=True)
class Reading:
    """What scores read from a map, or on average from several: where its heat and its maximum lie.

    Both float64 (h, w), summing to 1, or 0 everywhere where the map is.
    """

    heat: NDArray[np.float64]
    peak: NDArray[np.float64]  # the maximum, shared evenly by the pixels that have it


@dataclass(frozen=True)
class TestImages:
    """The test images of a model, in the order of its predictions."""

    __test__ = False  # not a test class, whatever pytest takes it for

    predictions: Predictions
    data: SplitImages  # opened for test
    index: list[IndexRow]  # of the test images
    regions: dict[str, dict[str, list[RegionRow]]]  # {image_id: {kind: its rows}} of the dataset
    fitted: list[IndexRow]  # the images that the model was fitted on
    folder: Path  # of the dataset, for masks

    @property
    def size_px(self) -> int:
        """The side of the images that the network sees."""
        return int(self.data.images.shape[1])

    def coverages(self, image: IndexRow) -> dict[str, Coverage]:
        """Return {kind: coverage} of what is annotated on an image."""
        kinds = self.regions.get(image.image_id, {})
        return {kind: cover_regions(rows, image, self.folder, self.size_px) for kind, rows in kinds.items()}


def join_annotations(
    data: SplitImages, predictions: Predictions, index: Sequence[IndexRow], regions: Iterable[RegionRow], folder: Path
) -> TestImages:
    """Put what is known about the test images together; `index` is that of every kept image.

    Raises:
        CxrflowError: the split is of another index.
    """
    by_id = {row.image_id: row for row in index}
    if not by_id.keys() >= set(data.image_ids):
        raise CxrflowError("test.csv lists images that index.csv lacks: they are of different runs; run split again")
    tested = [by_id.pop(image_id) for image_id in predictions.image_ids]
    return TestImages(predictions, data, tested, group_regions(regions), [*by_id.values()], folder)


@dataclass(frozen=True)
class Explainer:
    """A trained network, the layer whose maps are weighed, the device that computes, and how (gradcam.ENGINES)."""

    network: nn.Module
    layer: MapLayer
    device: torch.device
    engine: str = "direct"

    def explain(self, test: TestImages, numbers: Sequence[int], classes: NDArray[np.int64]) -> "zip[tuple[int, Map]]":
        """Yield (number, map) of test images, in the order of `numbers`; classes: int64, one for each test image."""
        rows, targets = test.data.rows["test"][list(numbers)].tolist(), classes[list(numbers)].tolist()
        maps = iterate_maps(self.network, self.layer, test.data.images, rows, targets, self.device, self.engine)
        return zip(numbers, maps, strict=True)


def choose_annotated(test: TestImages, index: Sequence[IndexRow], at_most: int, seed: int) -> list[int]:
    """Choose the numbers of annotated images: all of them, or `at_most`, sampled by seed."""
    annotated = [number for number, image in enumerate(index) if image.image_id in test.regions]
    sampled = np.random.default_rng(seed).permutation(annotated)[:at_most]
    return sorted(int(number) for number in sampled)


def score_images(explainer: Explainer, test: TestImages, at_most: int, seed: int) -> list[LocalizationRow]:
    """Score the maps of up to `at_most` test images against each kind of region that is annotated on them.

    None where the layer's grid is too coarse for a score.
    """
    numbers = choose_annotated(test, test.index, at_most, seed) if explainer.layer.is_scored else []
    if not numbers:
        return []
    random, fixed = read_random(explainer.layer.grid, test.size_px, seed), read_fixed(test, at_most, seed)
    names, predictions = test.predictions.class_names, test.predictions
    return [
        LocalizationRow(
            image_id=image.image_id,
            patient_id=image.patient_id,
            label=names[predictions.labels[number]],
            predicted=names[predictions.predicted[number]],
            region=kind,
            **score_map(read_map(heat), random, fixed.get(kind), region),
            empty_map=int(not heat.any()),
        )
        for number, heat in explainer.explain(test, numbers, predictions.labels)
        for image in [test.index[number]]
        for kind, region in test.coverages(image).items()
    ]


def read_map(heat: Map) -> Reading:
    """Return where a map's heat and maximum lie; a map of zeros has neither."""
    tied = (heat >= heat.max() * (1 - TIE)) & (heat > 0)
    return Reading(heat / max(heat.sum(dtype=np.float64), np.finfo(float).tiny), tied / max(tied.sum(), 1))


def read_random(grid: tuple[int, int], size_px: int, seed: int, n_maps: int = N_RANDOM) -> Reading:
    """Return what is read on average from random maps of a grid: every cell uniform between 0 and 1.

    Scores are sums over a reading, so those of the average are the average of theirs.
    """
    generator = np.random.default_rng(seed)
    heat, peak = np.zeros((2, size_px, size_px))
    for _ in range(n_maps):
        reading = read_map(enlarge(generator.random(grid, dtype=np.float32), (size_px, size_px)))
        heat += reading.heat / n_maps
        peak += reading.peak / n_maps
    return Reading(heat, peak)


def read_fixed(test: TestImages, at_most: int, seed: int) -> dict[str, Reading]:
    """Return by kind what is read from the mean region of up to `at_most` images that the model was fitted on."""
    found: dict[str, list[Coverage]] = defaultdict(list)
    for number in choose_annotated(test, test.fitted, at_most, seed):
        for kind, coverage in test.coverages(test.fitted[number]).items():
            found[kind].append(coverage)
    return {kind: read_map(np.mean(coverages, axis=0)) for kind, coverages in found.items()}


def score_map(heat: Reading, random: Reading, fixed: Reading | None, region: Coverage) -> dict[str, float]:
    """Score a map and those that know nothing against one region; NaN for a fixed place that is not known."""
    touched = region > 0
    scores = {"inside_share_uniform": float(region.mean(dtype=np.float64))}
    for end, reading in {"": heat, "_random": random, "_fixed": fixed}.items():
        scores[f"inside_share{end}"] = float((reading.heat * region).sum()) if reading else np.nan
        scores[f"hit{end}"] = float(reading.peak[touched].sum()) if reading else np.nan
    return scores


def summarize_rows(rows: Sequence[LocalizationRow], layer: MapLayer) -> dict[str, Any]:
    """Return the content of gradcam.json: of which maps gradcam.csv is, and how many."""
    return {
        "layer": layer.path,
        "grid": list(layer.grid),
        "method": layer.method,
        "is_scored": layer.is_scored,
        "n_scored": len({row.image_id for row in rows}),
        "n_empty_maps": len({row.image_id for row in rows if row.empty_map}),
    }


def group_regions(rows: Iterable[RegionRow]) -> dict[str, dict[str, list[RegionRow]]]:
    """Return {image_id: {kind: its rows}}."""
    grouped: dict[str, dict[str, list[RegionRow]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        grouped[row.image_id][row.kind].append(row)
    return {image_id: dict(kinds) for image_id, kinds in grouped.items()}


def cover_regions(rows: Iterable[RegionRow], image: IndexRow, folder: Path, size_px: int) -> Coverage:
    """Return the union of an image's regions on the square that the network sees, size_px to a side.

    The image was squeezed to that square, so x and y have a scale each. Where regions overlap, the larger share counts.

    Raises:
        CxrflowError: a region is empty or outside the image, or a mask cannot be read.
    """
    coverage = np.zeros((size_px, size_px), np.float32)
    for row in rows:
        part = (
            cover_mask(folder / row.mask_path, row.mask_sha256, size_px)
            if row.mask_path
            else cover_box(row, image, size_px)
        )
        if not part.any():
            what = row.mask_path or f"box x {row.x_px:g}, y {row.y_px:g}, {row.width_px:g} x {row.height_px:g} px"
            raise CxrflowError(
                f"image {image.image_id}: its {row.kind} region ({what}) holds no pixel of the {image.width} x"
                f" {image.height} px image; correct or remove it in the dataset's annotations and run index again"
            )
        np.maximum(coverage, part, out=coverage)
    return coverage


def cover_box(row: RegionRow, image: IndexRow, size_px: int) -> Coverage:
    """Return the coverage of a box given in the file's pixels; what lies outside the image is cut off."""

    def cover_line(start_px: float, length_px: float, scale: float) -> Coverage:
        pixels = np.arange(size_px)
        overlap = np.minimum(pixels + 1, (start_px + length_px) * scale) - np.maximum(pixels, start_px * scale)
        return np.asarray(np.clip(overlap, 0.0, 1.0), np.float32)

    across = cover_line(row.x_px, row.width_px, size_px / image.width)
    down = cover_line(row.y_px, row.height_px, size_px / image.height)
    return np.asarray(np.outer(down, across), np.float32)


def cover_mask(path: Path, sha256: str, size_px: int) -> Coverage:
    """Read a PNG mask, non-zero in any colour channel is inside, and return its coverage, upright like the image's.

    Raises:
        CxrflowError: it is missing, not an image, or another one than was indexed.
    """
    data = path.read_bytes() if path.is_file() else b""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if pixels is None:
        what = "is not an image that can be read" if path.exists() else "does not exist"
        raise CxrflowError(f"{path} {what}, and regions.csv names it as a mask: replace it, or run index again")
    if sha256_bytes(data) != sha256:
        raise CxrflowError(f"{path} was changed since it was indexed: copy the original back, or run index again")
    channels = pixels.reshape(*pixels.shape[:2], -1)[..., :3]  # a fourth one is opacity, not mask
    inside = turn_upright((channels != 0).any(axis=2).astype(np.float32), read_orientation(data))
    method = cv2.INTER_AREA if min(inside.shape) >= size_px else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(inside, (size_px, size_px), interpolation=method), np.float32)
