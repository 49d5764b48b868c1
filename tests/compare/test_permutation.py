import math

import numpy as np
import pytest

from cxrflow.compare.permutation import count_order, larger_p, rank_order_p

EARLIER = [(5.5, 30.0), (7.8, 20.0), (21.8, 10.0)]
LATER = [(5.5, 10.0), (7.8, 20.0), (21.8, 30.0)]


def test_perfect_order_in_three_blocks_is_one_of_216_rearrangements():
    as_claimed, opposite = rank_order_p([EARLIER] * 3)
    assert as_claimed == pytest.approx(1 / 216)
    assert opposite == 1


def test_opposite_order_is_told_as_such():
    as_claimed, opposite = rank_order_p([LATER] * 3)
    assert (as_claimed, opposite) == (1, pytest.approx(1 / 216))


def test_one_block_of_three_can_never_be_clear():
    assert rank_order_p([EARLIER])[0] == pytest.approx(1 / 6)


def test_ties_and_what_never_happens_count_for_neither():
    assert count_order([1, 2], [5.0, 5.0]) == 0
    assert count_order([1, 2], [math.inf, math.inf]) == 0
    assert count_order([1, 2], [math.inf, 9.0]) == 1


def test_all_ties_tell_nothing():
    assert rank_order_p([[(1.0, math.inf), (2.0, math.inf)]]) == (1, 1)


def test_marked_values_on_top_are_rare_by_chance():
    values, marked = np.arange(20.0), np.arange(20) >= 17
    assert larger_p([(values, marked)]) < 0.01
    assert larger_p([(-values, marked)]) > 0.99


def test_same_call_gives_the_same_share():
    block = (np.sin(np.arange(30.0)), np.arange(30) % 10 == 0)
    assert larger_p([block]) == larger_p([block])
