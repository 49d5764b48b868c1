import itertools
import math

import numpy as np
import pytest

from cxrflow.compare.permutation import count_order, larger_p, rank_order_p, swap_p
from cxrflow.files.records import Predictions

EARLIER = [(5.5, 30.0), (7.8, 20.0), (21.8, 10.0)]
LATER = [(5.5, 10.0), (7.8, 20.0), (21.8, 30.0)]


@pytest.mark.parametrize(
    ("blocks", "as_claimed", "opposite"),
    [
        ([EARLIER] * 3, 1 / 216, 1),  # one of all rearrangements
        ([LATER] * 3, 1, 1 / 216),
        ([EARLIER], 1 / 6, 1),  # one block of three can never be clear
        ([[(1.0, math.inf), (2.0, math.inf)]], 1, 1),  # all ties
    ],
)
def test_order_is_as_rare_as_its_rearrangements(
    blocks: list[list[tuple[float, float]]], as_claimed: float, opposite: float
):
    assert rank_order_p(blocks) == pytest.approx((as_claimed, opposite))


def test_ties_and_what_never_happens_count_for_neither():
    assert count_order([1, 2], [5.0, 5.0]) == 0
    assert count_order([1, 2], [math.inf, math.inf]) == 0
    assert count_order([1, 2], [math.inf, 9.0]) == 1


def test_marked_values_on_top_are_rare_by_chance():
    values, marked = np.arange(20.0), np.arange(20) >= 17
    assert larger_p([(values, marked)]) < 0.01
    assert larger_p([(-values, marked)]) > 0.99


def test_same_call_gives_the_same_share():
    block = (np.sin(np.arange(30.0)), np.arange(30) % 10 == 0)
    assert larger_p([block]) == larger_p([block])


def simulate(rng: np.random.Generator, n_patients: int, most: int, skill: float, alike: float) -> list[Predictions]:
    """Return predictions of two equal procedures on three classes, of patients with up to `most` images.

    alike: the share of a model's luck with an image that is its patient's: images of a patient are right together.
    """
    patients = np.repeat(np.arange(n_patients), rng.integers(1, most + 1, n_patients))
    labels = rng.integers(3, size=n_patients)[patients]
    models = []
    for _ in range(2):
        luck = np.where(rng.random(len(labels)) < alike, rng.random(n_patients)[patients], rng.random(len(labels)))
        guess = np.where(luck < skill, labels, (labels + rng.integers(1, 3, len(labels))) % 3)
        ids = [str(k) for k in range(len(labels))]
        models.append(Predictions(ids, [f"p{p}" for p in patients], labels, np.eye(3)[guess], ["a", "b", "c"]))
    return models


def macro_f1(predicted: np.ndarray, labels: np.ndarray) -> float:
    scores = []
    for k in range(3):
        right = ((predicted == k) & (labels == k)).sum()
        scores.append(2 * right / ((predicted == k).sum() + (labels == k).sum()))
    return float(np.mean(scores))


def test_swaps_of_whole_patients_are_those_of_a_plain_loop():
    """All 2^8 rearrangements of eight patients, one by one."""
    one, other = simulate(np.random.default_rng(3), 8, 4, 0.6, 0.5)
    number = np.array([int(each[1:]) for each in one.patient_ids])
    seen = abs(macro_f1(one.predicted, one.labels) - macro_f1(other.predicted, one.labels))
    as_large = []
    for swaps in itertools.product((False, True), repeat=8):
        swap = np.array(swaps)[number]
        sides = [np.where(swap, b.predicted, a.predicted) for a, b in ((one, other), (other, one))]
        first, second = (macro_f1(side, one.labels) for side in sides)
        as_large.append(abs(first - second) >= seen - 1e-9)
    assert swap_p([(one, other)]) == pytest.approx(np.mean(as_large), abs=0.02)


def test_a_model_does_not_differ_from_itself_and_a_far_better_one_does():
    one, other = simulate(np.random.default_rng(0), 60, 2, 0.6, 0.5)
    best = Predictions(one.image_ids, one.patient_ids, one.labels, np.eye(3)[one.labels], one.class_names)
    assert swap_p([(one, one)]) == 1
    assert swap_p([(best, one)]) == swap_p([(one, best)]) == 1 / 10_000  # never 0
    assert swap_p([(best, one), (best, other)]) == 1 / 10_000


@pytest.mark.slow
@pytest.mark.parametrize(("n_patients", "most"), [(26, 4), (100, 3), (100, 12)])
def test_equal_procedures_are_rarely_called_different(
    monkeypatch: pytest.MonkeyPatch, n_patients: int, most: int
) -> None:
    """Type I error of at most 7 % under an intraclass correlation of 0.7; McNemar's test has 9 to 35 % here."""
    monkeypatch.setattr("cxrflow.compare.permutation.REARRANGEMENTS", 499)
    rng = np.random.default_rng(5)
    found = [swap_p([tuple(simulate(rng, n_patients, most, 0.7, 0.84))]) <= 0.05 for _ in range(400)]
    assert np.mean(found) <= 0.07
