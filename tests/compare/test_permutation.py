import math

import numpy as np
import pytest

from cxrflow.compare.permutation import count_order, larger_p, rank_order_p

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
