"""Lungs found by a network: boxes that no lungs have are refused, and on phantoms of another source it finds them."""

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cxrflow.config.settings import PhantomSettings
from cxrflow.data.hashing import shrink
from cxrflow.files.records import IndexRow, SplitRow
from cxrflow.models.batches import SplitImages, join_split
from cxrflow.results.bootstrap import mean_macro_f1
from cxrflow.results.lungs import SIDE_PX, Box, Gray, LungFinder, box_mask, make_network, measure_dice, train_finder
from cxrflow.results.metrics import chance_macro_f1
from cxrflow.results.probes import LUNGS_PX, fit_probe
from phantoms.kaggle import plan_covid, plan_pneumonia
from phantoms.render import ImageTask, synthesise_image

Floats = NDArray[np.float32]


def draw_mask(*rectangles: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """Return a mask with rectangles of (x, y, width, height), pixels of 48."""
    mask = np.zeros((SIDE_PX, SIDE_PX), np.bool_)
    for x, y, width, height in rectangles:
        mask[y : y + height, x : x + width] = True
    return mask


def test_the_box_is_around_both_lungs_without_specks() -> None:
    mask = draw_mask((6, 12, 12, 24), (30, 6, 12, 24), (46, 46, 2, 2))
    assert box_mask(mask) == (6 / 48, 6 / 48, 36 / 48, 30 / 48)
    assert box_mask(draw_mask()) is None


def test_a_box_that_no_lungs_have_is_none() -> None:
    finder = LungFinder(make_network(), np.array([[0.6, 0.5], [0.8, 0.7]]))
    assert finder.find_box(draw_mask((6, 12, 36, 24))) == (6 / 48, 12 / 48, 36 / 48, 24 / 48)
    assert finder.find_box(draw_mask((6, 12, 12, 24))) is None  # one lung
    assert finder.find_box(draw_mask()) is None


def test_dice_is_twice_the_overlap_by_both_sizes() -> None:
    one, two = draw_mask((0, 0, 4, 4)), draw_mask((2, 0, 4, 4))
    assert measure_dice(np.stack([one, one]), np.stack([one, two])) == [1.0, 0.5]


def test_the_network_is_small_and_its_size_that_of_the_image() -> None:
    network = make_network()
    assert sum(parameter.numel() for parameter in network.parameters()) < 300_000
    assert network(torch.zeros(2, 1, SIDE_PX, SIDE_PX)).shape == (2, 1, SIDE_PX, SIDE_PX)


def test_equal_seeds_make_equal_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxrflow.results.lungs.LEAST_STEPS", 2)
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32)).astype(np.uint8)
    masks = [draw_mask((6, 12, 36, 24)).astype(np.float32)] * 4
    trained = [train_finder(images, masks, seed).network.state_dict() for seed in (0, 0, 1)]
    same = [all(torch.equal(value, trained[0][name]) for name, value in each.items()) for each in trained]
    assert same == [True, True, False]


def draw_films(tasks: list[ImageTask]) -> tuple[list[Gray], list[Floats], list[Gray]]:
    """Return thumbnails, the lungs at SIDE_PX, and the lungs as a probe sees them."""
    drawn = [synthesise_image(task, 0, 2.5) for task in tasks]
    lungs = [each.lungs.astype(np.float32) for each in drawn]
    shrunk = [
        [np.asarray(cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA), np.float32) for mask in lungs]
        for side in (SIDE_PX, LUNGS_PX)
    ]
    return (
        [shrink(each.pixels) for each in drawn],
        shrunk[0],
        [np.round(255 * mask).astype(np.uint8) for mask in shrunk[1]],
    )


@pytest.mark.slow
def test_lungs_of_another_source_are_found_and_their_boxes_serve_as_well_as_true_masks() -> None:
    settings = PhantomSettings(images_per_class=48, size_scale=0.25)
    learned = [task for task in plan_covid(settings).tasks if task.lungs_path][:96]
    thumbnails, masks, _ = draw_films(learned)
    finder = train_finder(thumbnails, masks, seed=0)
    others = [task for task in plan_pneumonia(settings).tasks if not task.copy_of and not task.defect]
    thumbnails, masks, seen = draw_films(others)
    found = finder.find_masks(thumbnails)
    assert np.mean(measure_dice(found, np.stack(masks) > 0.5)) > 0.9
    boxes = [finder.find_box(mask) for mask in found]
    assert None not in boxes
    reach = {
        (name, is_marked): reach_without_lungs(mark(thumbnails, others) if is_marked else thumbnails, others, lungs)
        for is_marked in (False, True)
        for name, lungs in (("true", seen), ("found", [paint(box) for box in boxes if box]))
    }
    assert abs(reach["true", False] - reach["found", False]) < 0.15
    assert reach["found", True] > reach["found", False] + 0.2


def mark(thumbnails: list[Gray], tasks: list[ImageTask]) -> list[Gray]:
    """Put a white mark in the corner of the normal ones."""
    marked = [thumbnail.copy() for thumbnail in thumbnails]
    for thumbnail, task in zip(marked, tasks, strict=True):
        thumbnail[:16, :16] = 255 if task.label == "normal" else thumbnail[:16, :16]
    return marked


def paint(box: Box) -> Gray:
    """Return the mask of a box as a probe sees it."""
    x, y, width, height = (round(LUNGS_PX * share) for share in box)
    mask = np.zeros((LUNGS_PX, LUNGS_PX), np.uint8)
    mask[y : y + height, x : x + width] = 255
    return mask


def reach_without_lungs(thumbnails: list[Gray], tasks: list[ImageTask], lungs: list[Gray]) -> float:
    """Return how far a probe without lungs comes from chance (0) to no error (1)."""
    parts: dict[str, SplitImages] = {}
    for subset, numbers in (("train", range(0, len(tasks), 2)), ("test", range(1, len(tasks), 2))):
        rows = [SplitRow(f"{k}", tasks[k].label, f"{k}", "", subset) for k in numbers]
        parts[subset] = join_split(np.stack([thumbnails[k] for k in numbers]), rows, subsets=(subset, "val"))
    index = {f"{k}": IndexRow(f"{k}", "", "", "", "", SIDE_PX, SIDE_PX, "L", "", "") for k in range(len(tasks))}
    probe = fit_probe("lungless", parts["train"], parts["test"], index, {f"{k}": mask for k, mask in enumerate(lungs)})
    chance = chance_macro_f1(np.bincount(probe.labels))
    return (mean_macro_f1([[probe]], 0, 0).value - chance) / (1 - chance)
