"""Time left from epochs that have ended."""

import pytest

from cxrflow.config.identity import ModelId
from cxrflow.files.records import EpochRow
from cxrflow.operate.progress import Progress, estimate_left, guess_epoch_s


def progress(dataset: str, backbone: str, *seconds: float, epochs: int = 10) -> Progress:
    rows = tuple(EpochRow(i, 0.1, 1, 0, 1, 0, s, 1) for i, s in enumerate(seconds, 1))
    return Progress(ModelId(dataset, backbone), epochs, rows, 0.0)


def no_images(_dataset: str) -> int:
    return 0


def test_an_epochs_time_is_that_of_the_last_ones() -> None:
    moved = progress("covid", "resnet34", 900, 900, 900, 60, 61, 62, 63, 64)
    assert moved.epoch_s == 62


@pytest.mark.parametrize(
    ("lefts", "running", "wall_s"),
    [([10, 10, 10], 3, 10), ([10, 10, 10], 1, 30), ([5, 20, 10], 2, 20), ([30, 1, 1], 2, 30), ([5, 6], 0, 11)],
)
def test_trainings_start_as_running_ones_end(lefts: list[float], running: int, wall_s: float) -> None:
    trainings = [progress("covid", "resnet34", left_s, epochs=2) for left_s in lefts]
    assert estimate_left(trainings, trainings, running, no_images).wall_s == wall_s


def test_the_same_dataset_is_a_better_guess_than_a_scaled_one() -> None:
    known = [progress("covid", "resnet34", 30), progress("xray8", "resnet34", 300), progress("covid", "other", 7)]
    assert guess_epoch_s(ModelId("covid", "resnet34", "imagenet"), known, no_images) == 30
    sizes = {"covid": 100, "xray8": 1000, "pneumonia": 200}
    assert guess_epoch_s(ModelId("pneumonia", "resnet34"), known, lambda name: sizes[name]) == 60


def test_what_nothing_is_known_about_is_not_counted_but_named() -> None:
    running, unknown = progress("covid", "resnet34", 60, 60), progress("covid", "mobilenet_v3_large")
    left = estimate_left([running, unknown], [running, unknown], 1, no_images)
    assert (left.wall_s, left.unknown, left.by_likeness) == (8 * 60, 1, 0)


def test_without_any_epoch_the_time_is_unknown() -> None:
    fresh = progress("covid", "resnet34")
    assert estimate_left([fresh], [fresh], 1, no_images).wall_s is None
