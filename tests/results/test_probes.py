"""Classifiers without a network: each sees what it says it sees, and nothing else."""

import dataclasses

import numpy as np
import pytest

from cxrflow.config.probes import PROBES
from cxrflow.files.records import IndexRow, SplitRow
from cxrflow.models.batches import SplitImages, join_split
from cxrflow.results.probes import _PROBES, fit_probe, take_frame, take_thumbnail

SIZE, N_TRAIN, N_TEST = 48, 60, 30
NAMES = ("healthy", "ill")


Part = tuple[SplitImages, list[IndexRow]]


def make_part(n: int, subset: str, seed: int, marked: slice, facts: tuple[str, str]) -> Part:
    """Return noise images of two classes in turn; the ill ones are bright in a part of the image."""
    images = np.random.default_rng(seed).integers(60, 120, (n, SIZE, SIZE)).astype(np.uint8)
    labels = [k % 2 for k in range(n)]
    for k in range(1, n, 2):
        images[k, marked, marked] += 100
    rows = [SplitRow(f"{subset}{k}", NAMES[label], f"{subset}{k}", "", subset) for k, label in enumerate(labels)]
    index = [
        IndexRow(row.image_id, "", row.label, "", "", SIZE, SIZE, "L", "", "", metadata=facts[label])
        for row, label in zip(rows, labels, strict=True)
    ]
    return join_split(images, rows, subsets=("train", "val") if subset == "train" else ("test",)), index


def accuracy(probe: str, marked: slice, facts: tuple[str, str] = ("", "")) -> float:
    data, train = make_part(N_TRAIN, "train", 0, marked, facts)
    test, tested = make_part(N_TEST, "test", 1, marked, facts)
    predictions = fit_probe(probe, data, test, {row.image_id: row for row in [*train, *tested]})
    assert predictions.image_ids == [row.image_id for row in tested]
    np.testing.assert_allclose(predictions.probabilities.sum(axis=1), 1)
    return float((predictions.predicted == predictions.labels).mean())


CENTRE, CORNER, NOWHERE = slice(20, 28), slice(0, 3), slice(0, 0)


def test_every_probe_has_its_function() -> None:
    assert list(_PROBES) == list(PROBES)


def test_the_thumbnail_sees_the_middle_and_the_frame_does_not() -> None:
    assert accuracy("thumbnail", CENTRE) == 1
    assert accuracy("frame", CENTRE) < 0.75
    assert accuracy("frame", CORNER) == 1


def test_metadata_tell_what_the_table_says_and_the_image_nothing() -> None:
    assert accuracy("metadata", CENTRE) == 0.5
    assert accuracy("metadata", NOWHERE, ("view=PA sex=F age_years=40", "view=AP sex=F age_years=40")) == 1
    assert accuracy("metadata", NOWHERE, ("age_years=30", "age_years=60")) == 1


def test_the_most_frequent_class_is_always_said() -> None:
    assert accuracy("majority", CENTRE) == 0.5


@pytest.mark.parametrize("side", [48, 256])
def test_shapes(side: int) -> None:
    images = np.zeros((2, side, side), np.uint8)
    rows = [dataclasses.replace(IndexRow("", "", "", "", "", 1, 1, "L", "", ""), image_id=f"{k}") for k in range(2)]
    assert take_thumbnail(images, rows).shape == (2, 256)
    small, width = min(side, 64), round(min(side, 64) * 6 / 64)
    assert take_frame(images, rows).shape == (2, small**2 - (small - 2 * width) ** 2)
