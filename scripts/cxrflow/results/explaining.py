"""Which test images of a model are explained: some are scored against what is annotated, some are shown.

Reads images.npy row by row and the masks that regions.csv names.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cxrflow.errors import CxrflowError
from cxrflow.files.records import IndexRow, Predictions, RegionRow
from cxrflow.results.gallery import ClassRow, Tile, choose_images, write_caption
from cxrflow.results.gradcam import Map, iterate_maps
from cxrflow.results.localization import LocalizationRow, score_map
from cxrflow.results.regions import Coverage, cover_regions


@dataclass(frozen=True)
class TestImages:
    """The test images of a model, in the order of its predictions.

    Attributes:
        predictions: what the model says about them.
        images: uint8 (N, size, size), 0-255, every kept image of the dataset, memory-mapped.
        rows: int64 (n_test,), where the test images stand in `images`.
        index: of the test images.
        regions: {image_id: {kind: its rows}} of the dataset.
        folder: of the dataset, for masks.
    """

    __test__ = False  # no test class, whatever pytest takes it for

    predictions: Predictions
    images: NDArray[np.uint8]
    rows: NDArray[np.int64]
    index: list[IndexRow]
    regions: dict[str, dict[str, list[RegionRow]]]
    folder: Path

    def coverages(self, number: int) -> dict[str, Coverage]:
        """Return {kind: coverage} of what is annotated on test image `number`."""
        image = self.index[number]
        kinds = self.regions.get(image.image_id, {})
        size_px = self.images.shape[1]
        return {kind: cover_regions(rows, image, self.folder, size_px) for kind, rows in kinds.items()}


@dataclass(frozen=True)
class Explainer:
    """A trained network, the dotted path of its Grad-CAM layer, the device that computes, and how (gradcam.ENGINES)."""

    network: nn.Module
    layer: str
    device: torch.device
    engine: str = "direct"

    def explain(self, test: TestImages, numbers: Sequence[int]) -> "zip[tuple[int, Map]]":
        """Yield (number, Grad-CAM of its predicted class) of test images, in the order of `numbers`."""
        rows, targets = test.rows[list(numbers)].tolist(), test.predictions.predicted[list(numbers)].tolist()
        maps = iterate_maps(self.network, self.layer, test.images, rows, targets, self.device, self.engine)
        return zip(numbers, maps, strict=True)


def find_rows(predictions: Predictions, index: Sequence[IndexRow]) -> NDArray[np.int64]:
    """Return where the predicted images stand in the index: int64 (n_test,).

    Raises:
        CxrflowError: one is not in it.
    """
    row_of = {image.image_id: row for row, image in enumerate(index)}
    missing = [image_id for image_id in predictions.image_ids if image_id not in row_of]
    if missing:
        raise CxrflowError(
            f"{len(missing)} of {len(predictions.image_ids)} predicted images are not in the index, first {missing[0]}:"
            " predictions and index are of different runs; run evaluate again"
        )
    return np.array([row_of[image_id] for image_id in predictions.image_ids], dtype=np.int64)


def choose_scored(test: TestImages, at_most: int, seed: int) -> list[int]:
    """Draw which annotated test images are scored: all of them, or `at_most`."""
    annotated = [number for number, image in enumerate(test.index) if image.image_id in test.regions]
    drawn = np.random.default_rng(seed).permutation(annotated)[:at_most]
    return sorted(int(number) for number in drawn)


def score_images(explainer: Explainer, test: TestImages, numbers: Sequence[int]) -> list[LocalizationRow]:
    """Score the maps of test images against each kind of region that is annotated on them."""
    names = test.predictions.class_names
    labels, predicted = test.predictions.labels, test.predictions.predicted
    return [
        score_map(
            heat,
            region,
            image_id=test.index[number].image_id,
            label=names[labels[number]],
            predicted=names[predicted[number]],
            kind=kind,
        )
        for number, heat in explainer.explain(test, numbers)
        for kind, region in test.coverages(number).items()
    ]


def collect_gallery(explainer: Explainer, test: TestImages, per_class: int, seed: int) -> list[ClassRow]:
    """Return the gallery's rows, one per class, with up to `per_class` right and wrong test images each."""
    chosen = choose_images(test.predictions, per_class, seed)
    shown = [number for right, wrong in chosen.values() for number in (*right, *wrong)]
    tiles = {
        number: Tile(
            image=np.asarray(test.images[test.rows[number]]),
            heat=heat,
            caption=write_caption(test.predictions, number),
            regions=test.coverages(number),
        )
        for number, heat in explainer.explain(test, shown)
    }
    hits = test.predictions.predicted == test.predictions.labels
    rows = []
    for k, (name, (right, wrong)) in enumerate(chosen.items()):
        hits_of_class = hits[test.predictions.labels == k]
        n_right = int(hits_of_class.sum())
        rows.append(
            ClassRow(name, [tiles[n] for n in right], [tiles[n] for n in wrong], n_right, len(hits_of_class) - n_right)
        )
    return rows
