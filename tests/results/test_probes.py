"""Classifiers without a network: each sees what it says it sees, and nothing else."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxrflow.config.probes import PROBES
from cxrflow.files.atomic import sha256_file
from cxrflow.files.records import IndexRow, LungsRow, RegionRow, SplitRow
from cxrflow.models.batches import SplitImages, join_split
from cxrflow.results.probes import (
    _PROBES,
    Seen,
    box_lungs,
    choose_lungs,
    explain_absence,
    fit_probe,
    read_lungs,
    take_frame,
    take_header,
    take_histogram,
    take_lungless,
    take_silhouette,
    take_thumbnail,
)

SIZE, N_TRAIN, N_TEST = 48, 60, 30
NAMES = ("healthy", "ill")
NO_NETWORK: dict[str, Any] = {"absent": "nobody has"}
DICE = {"value": 0.95, "low": 0.93, "high": 0.97, "n_patients": 40}
FOUND: dict[str, Any] = {"dice": DICE, "n_tested": 40, "datasets": ["d"]}


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
    rows = [replace(IndexRow("", "", "", "", "", 1, 1, "L", "", ""), image_id=f"{k}") for k in range(2)]
    seen = Seen(images, np.arange(2), rows, {})
    assert take_thumbnail(seen).shape == (2, 256)
    small, width = min(side, 64), round(min(side, 64) * 6 / 64)
    assert take_frame(seen).shape == (2, small**2 - (small - 2 * width) ** 2)


def test_a_black_box_hides_the_lungs_and_leaves_the_rest() -> None:
    mask = np.zeros((32, 32), np.uint8)
    mask[10:20, 5:25] = 255
    rows, columns = box_lungs(mask, 64, 96)
    assert (rows, columns) == (slice(18, 42), slice(9, 81))  # 10 % wider on every side
    image = np.full((1, 64, 96), 200, np.uint8)
    row = IndexRow("a", "", "", "", "", 96, 64, "L", "", "")
    seen = Seen(image, np.arange(1), [row], {"a": mask})
    thumbnail = take_lungless(seen)[0].reshape(16, 16)
    assert thumbnail[7, 8] == 0
    assert thumbnail[0, 0] == 200
    assert image.min() == 200
    assert take_silhouette(seen)[0].sum() == (mask > 0).sum()


def test_lungs_are_read_from_what_is_annotated(tmp_path: Path) -> None:
    Image.fromarray(np.pad(np.full((10, 10), 255, np.uint8), 3)).save(tmp_path / "mask.png")
    rows = [IndexRow(name, "", "", "", "", 16, 16, "L", "", "") for name in "ab"]
    regions = [
        RegionRow("a", "lungs", 0, 0, 0, 0, "mask.png", sha256_file(tmp_path / "mask.png")),
        RegionRow("b", "lesion", 2, 2, 4, 4, ""),
    ]
    lungs = read_lungs(rows, regions, tmp_path, threads=1)
    assert list(lungs) == ["a"]
    assert lungs["a"][16, 16] == 255
    assert lungs["a"][0, 0] == 0
    assert choose_lungs(rows[:1], lungs, [], NO_NETWORK) == (lungs, "", "")
    no_lungs = choose_lungs(rows, lungs, [], NO_NETWORK)[2]
    assert no_lungs == "1 of 2 images have no lung mask, and nobody has"
    assert explain_absence("lungless", rows, no_lungs) == no_lungs
    assert explain_absence("frame", rows, no_lungs) == ""
    assert choose_lungs(rows, {}, [], NO_NETWORK)[2].startswith("the dataset has no lung masks, and")


def test_a_network_finds_lungs_for_all_images_or_for_none() -> None:
    rows = [IndexRow(f"{k}", "", "", "", "", 32, 64, "L", "", "") for k in range(20)]
    shipped = {"0": np.full((32, 32), 255, np.uint8)}
    found = [LungsRow("d", row.image_id, 0.25, 0.5, 0.5, 0.25) for row in rows]
    lungs, source, absence = choose_lungs(rows, shipped, found, FOUND)
    assert list(lungs) == [row.image_id for row in rows]  # its own mask is not used: who has one may be of one class
    assert lungs["0"][16:24, 8:24].min() == 255
    assert lungs["0"].sum() == 255 * 8 * 16
    assert (source, absence) == (
        "box around the lungs by a U-Net, Dice 0.95 (0.93–0.97) on 40 held-out images of d, unchecked on these", ""
    )  # fmt: skip
    missed = [replace(row, width=0) for row in found[:1]]
    lungs, source, absence = choose_lungs(rows, {}, [*missed, *found[1:]], FOUND)
    assert len(lungs) == 19
    assert source.endswith("; 1 of 20 images left out, where it found none")
    assert "finds no lungs in 3 of 20 images" in choose_lungs(rows, {}, found[3:], FOUND)[2]
    weak = {**FOUND, "dice": {**FOUND["dice"], "low": 0.79}}
    assert "not sure enough" in choose_lungs(rows, {}, found, weak)[2]


def test_an_image_whose_lungs_are_not_found_is_left_out() -> None:
    data, train = make_part(N_TRAIN, "train", 0, slice(0, 9), ("", ""))
    test, tested = make_part(N_TEST, "test", 1, slice(0, 9), ("", ""))
    mask = np.zeros((32, 32), np.uint8)
    mask[10:20, 10:20] = 255
    lungs = {row.image_id: mask for row in [*train[1:], *tested[:7], *tested[8:]]}
    predictions = fit_probe("lungless", data, test, {row.image_id: row for row in [*train, *tested]}, lungs)
    assert predictions.image_ids == [row.image_id for row in tested if row.image_id != "test7"]
    assert (predictions.labels == [k % 2 for k in range(N_TEST) if k != 7]).all()
    assert (predictions.predicted == predictions.labels).all()  # the mark is outside the lungs


def test_metadata_need_a_fact_of_their_own() -> None:
    row = IndexRow("a", "", "", "", "", 16, 16, "L", "", "", metadata="ignored=Edema")
    assert "no view" in explain_absence("metadata", [row])
    assert explain_absence("metadata", [replace(row, metadata="sex=F")]) == ""


def test_the_header_tells_files_apart_and_the_histogram_grey_values() -> None:
    rows = [IndexRow(f"{k}", "", "", "", "", 16, 16, "L", "", "", size_bytes=100 + k) for k in range(2)]
    images = np.stack([np.zeros((16, 16)), np.full((16, 16), 255)]).astype(np.uint8)
    seen = Seen(images, np.arange(2), rows, {})
    assert take_header(seen)[:, 0].tolist() == [100, 101]
    assert take_histogram(seen)[:, [0, -1]].tolist() == [[1, 0], [0, 1]]
