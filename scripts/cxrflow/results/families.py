"""Tests of one family: p values from intervals, and their correction for all of them together. Pure functions."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from cxrflow.results.bootstrap import Estimate

ALPHA = 0.05  # how often chance alone may decide one test of a family of which none has an effect
LEAST_P = 1e-9  # no interval of these is trusted further out
Found = TypeVar("Found")


def find_p(estimate: Estimate, bound: float = 0.0) -> float:
    """Return the two-sided p value of `estimate equals bound`: 1 minus the level whose interval ends at the bound.

    So a test at any alpha and the interval at 1 - alpha always agree (Casella & Berger 2002, Statistical Inference,
    theorem 9.2.2). 1 where there is no interval: then nothing can be told.
    """
    from scipy.optimize import brentq  # here: a study without intervals needs none

    if estimate.low is None or estimate.high is None or estimate.value == bound:
        return 1.0

    def distance(log_alpha: float) -> float:  # of the bound from the nearer end, positive outside the interval
        at = estimate.at(1 - 10**log_alpha)
        assert at.low is not None  # as at 95 %
        assert at.high is not None
        return at.low - bound if estimate.value > bound else bound - at.high

    least = float(np.log10(LEAST_P))
    if distance(least) > 0:
        return LEAST_P
    return float(10 ** brentq(distance, least, 0.0)) if distance(0.0) > 0 else 1.0


def adjust_holm(p_values: Sequence[float]) -> list[float]:
    """Return p values adjusted for all tests of their family, in their order (Holm 1979, Scand. J. Stat. 6:65-70)."""
    adjusted, least = [0.0] * len(p_values), 0.0
    for place, k in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - place) * p_values[k]))
        adjusted[k] = least
    return adjusted


def step_down(
    names: Sequence[str], judge: Callable[[str, float], Found], is_decided: Callable[[Found], bool]
) -> Mapping[str, Found]:
    """Return each test of a family as it was judged in Holm's procedure, with its intervals at the same level.

    judge: from a test's name and alpha to what it finds at that alpha, intervals at 1 - alpha. What is decided at 0.05
    divided by the number of tests that are not is decided for good; the others are judged again among fewer, until
    nothing is added. The decisions are Holm's, so chance alone decides one in at most 5 % of studies; and each stands
    with an interval of the level it was taken at. Those of the undecided hold all together (Strassburger & Bretz 2008,
    Stat. Med. 27:4914-4927); those of the decided are wider than the ones of which, on average, at most 5 % miss
    (Benjamini & Yekutieli 2005, J. Am. Stat. Assoc. 100:71-81: 1 - 0.05 R / m for R of m tests).
    """
    found: dict[str, Found] = {}
    decided: set[str] = set()
    while len(decided) < len(names):
        alpha = ALPHA / (len(names) - len(decided))
        found |= {name: judge(name, alpha) for name in names if name not in decided}
        added = {name for name in names if is_decided(found[name])} - decided
        if not added:
            break
        decided |= added
    return found
