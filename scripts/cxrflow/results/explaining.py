"""Where a model looks, scored: how much of a Grad-CAM map lies in what is annotated on the test image.

Two numbers per image and kind of region. The inside share is the share of the map's sum that lies in the region
(the energy-based pointing game, Wang et al. 2020, Score-CAM, CVPR workshops). A hit is a map whose maximum lies in the
region (the pointing game, Zhang et al. 2018, Top-down Neural Attention by Excitation Backprop, IJCV 126). They allow
15 px around objects of photographs; here the tolerance is 0, because 15 of 224 px is as large as many a lesion.

Neither number means anything alone: most lesions lie near the middle of a chest X-ray. Hence the baselines.
A centred map is a Gaussian around the image's middle with a standard deviation of a quarter of the side: it knows where
lungs usually are. A uniform map scores the region's share of the image.
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
from cxrflow.files.records import IndexRow, Predictions, RegionRow
from cxrflow.models.batches import SplitImages
from cxrflow.results.gradcam import Map, iterate_maps

Coverage = NDArray[np.float32]  # float32 (h, w), 0-1: the share of each pixel that lies in an annotated region

CENTRED_DEVIATION = 0.25  # of the side: one deviation around the middle covers the middle half of the image
TIE = 1e-6  # values this close to the maximum, relative to it, are equal to it


@dataclass(frozen=True)
class LocalizationRow:
    """gradcam.csv: one scored test image and kind of region."""

    image_id: str
    label: str
    predicted: str  # what the map explains
    region: str  # `lesion` or `lungs`
    inside_share: float  # 0 to 1, of the map and of the two baselines
    inside_share_centred: float
    inside_share_uniform: float
    hit: int  # 1 when the maximum lies in the region, else 0
    hit_centred: int
    empty_map: int  # 1 when the map is 0 everywhere; its inside_share and hit are 0


@dataclass(frozen=True)
class TestImages:
    """The test images of a model, in the order of its predictions."""

    __test__ = False  # not a test class, whatever pytest takes it for

    predictions: Predictions
    data: SplitImages  # opened for test
    index: list[IndexRow]  # of the test images
    regions: dict[str, dict[str, list[RegionRow]]]  # {image_id: {kind: its rows}} of the dataset
    folder: Path  # of the dataset, for masks

    def coverages(self, number: int) -> dict[str, Coverage]:
        """Return {kind: coverage} of what is annotated on test image `number`."""
        image = self.index[number]
        kinds = self.regions.get(image.image_id, {})
        size_px = self.data.images.shape[1]
        return {kind: cover_regions(rows, image, self.folder, size_px) for kind, rows in kinds.items()}


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
    tested = [by_id[image_id] for image_id in predictions.image_ids]
    return TestImages(predictions, data, tested, group_regions(regions), folder)


@dataclass(frozen=True)
class Explainer:
    """A trained network, the dotted path of its Grad-CAM layer, the device that computes, and how (gradcam.ENGINES)."""

    network: nn.Module
    layer: str
    device: torch.device
    engine: str = "direct"

    def explain(self, test: TestImages, numbers: Sequence[int]) -> "zip[tuple[int, Map]]":
        """Yield (number, Grad-CAM of its predicted class) of test images, in the order of `numbers`."""
        rows = test.data.rows["test"][list(numbers)].tolist()
        targets = test.predictions.predicted[list(numbers)].tolist()
        maps = iterate_maps(self.network, self.layer, test.data.images, rows, targets, self.device, self.engine)
        return zip(numbers, maps, strict=True)


def choose_scored(test: TestImages, at_most: int, seed: int) -> list[int]:
    """Choose which annotated test images are scored: all of them, or `at_most`, sampled by seed."""
    annotated = [number for number, image in enumerate(test.index) if image.image_id in test.regions]
    sampled = np.random.default_rng(seed).permutation(annotated)[:at_most]
    return sorted(int(number) for number in sampled)


def score_images(explainer: Explainer, test: TestImages, numbers: Sequence[int]) -> list[LocalizationRow]:
    """Score the maps of test images against each kind of region that is annotated on them."""
    names = test.predictions.class_names
    labels, predicted = test.predictions.labels, test.predictions.predicted
    return [
        score_map(heat, region, test.index[number].image_id, names[labels[number]], names[predicted[number]], kind)
        for number, heat in explainer.explain(test, numbers)
        for kind, region in test.coverages(number).items()
    ]


# The means in gradcam.json, and the columns of gradcam.csv that they are of.
MEANS = {
    "inside_share": "inside_share",
    "inside_share_centred": "inside_share_centred",
    "inside_share_uniform": "inside_share_uniform",
    "pointing_hit_rate": "hit",
    "pointing_hit_rate_centred": "hit_centred",
}


def inside_share(heat: Map, region: Coverage) -> float:
    """Return the share of the map's sum that lies in the region, pixels counted by the share of them that is covered.

    0 for a map that is 0 everywhere: it explains nothing.
    """
    total = float(heat.sum(dtype=np.float64))
    return float((heat * region).sum(dtype=np.float64)) / total if total > 0 else 0.0


def hits_region(heat: Map, region: Coverage) -> bool:
    """Return whether the map's maximum lies on a pixel that the region touches; False for a map of zeros."""
    return bool(heat.any()) and bool(region[find_peak(heat)] > 0)


def find_peak(heat: Map) -> tuple[int, int]:
    """Return row and column of the maximum; of several equal ones, the one nearest to the image's middle.

    A map is enlarged from a few cells. A cell at the border then has one value from its centre out to the image's edge;
    the pixel of that plateau nearest to the middle is the cell's centre, while the first one may be the image's corner.
    """
    places = np.argwhere(heat >= heat.max() * (1 - TIE))
    distance = ((places - (np.array(heat.shape) - 1) / 2) ** 2).sum(axis=1)
    row, column = places[distance.argmin()]
    return int(row), int(column)


def centred_map(size_px: int) -> Map:
    """Return the Gaussian baseline: float32 (size_px, size_px), 1 in the middle."""
    offset = (np.arange(size_px) + 0.5) / size_px - 0.5
    line = np.exp(-0.5 * (offset / CENTRED_DEVIATION) ** 2)
    return np.outer(line, line).astype(np.float32)


def score_map(heat: Map, region: Coverage, image_id: str, label: str, predicted: str, kind: str) -> LocalizationRow:
    """Score one map and its two baselines against one region."""
    centred = centred_map(len(heat))
    return LocalizationRow(
        image_id=image_id,
        label=label,
        predicted=predicted,
        region=kind,
        inside_share=inside_share(heat, region),
        inside_share_centred=inside_share(centred, region),
        inside_share_uniform=float(region.mean(dtype=np.float64)),
        hit=int(hits_region(heat, region)),
        hit_centred=int(hits_region(centred, region)),
        empty_map=int(not heat.any()),
    )


def summarize_rows(rows: Sequence[LocalizationRow], layer: str) -> dict[str, Any]:
    """Return the content of gradcam.json: the means over images for each kind of region that occurs."""
    by_kind = {kind: [row for row in rows if row.region == kind] for kind in sorted({row.region for row in rows})}
    return {
        "layer": layer,
        "n_scored": len({row.image_id for row in rows}),
        "n_empty_maps": len({row.image_id for row in rows if row.empty_map}),
        "regions": {
            kind: {"n_images": len(some)}
            | {key: float(np.mean([getattr(row, column) for row in some])) for key, column in MEANS.items()}
            for kind, some in by_kind.items()
        },
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
