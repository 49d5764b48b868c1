"""How often chance alone would give as clear a pattern: two permutation tests. Pure functions.

Permutation tests need no distribution and no large sample: they ask in what share of the rearrangements, were there no
effect, the statistic would be at least as large (Good 2005, Permutation, Parametric and Bootstrap Tests of Hypotheses).
"""

import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

REARRANGEMENTS = 9999
SEED = 0


def rank_order_p(blocks: Sequence[Sequence[tuple[float, float]]]) -> tuple[float, float]:
    """Ask whether, within blocks, a larger first value goes with a smaller second one.

    The statistic is the number of pairs in that order minus the number in the other; ties count for neither. Its
    distribution is exact: all rearrangements of the second values within each block.

    blocks: for each block its (first, second) pairs, at most about seven.

    Returns:
        Shares of the rearrangements with a statistic as large, and as small, as the one seen.
    """
    distribution: Counter[int] = Counter({0: 1})
    for block in blocks:
        first, second = [a for a, _ in block], [b for _, b in block]
        of_block = Counter(count_order(first, order) for order in itertools.permutations(second))
        sums: Counter[int] = Counter()
        for (a, n), (b, m) in itertools.product(distribution.items(), of_block.items()):
            sums[a + b] += n * m
        distribution = sums
    seen = sum(count_order([a for a, _ in block], [b for _, b in block]) for block in blocks)
    total = sum(distribution.values())
    larger = sum(count for value, count in distribution.items() if value >= seen)
    smaller = sum(count for value, count in distribution.items() if value <= seen)
    return larger / total, smaller / total


def count_order(first: Sequence[float], second: Sequence[float]) -> int:
    """Return the pairs in which the larger `first` has the smaller `second`, minus those the other way round."""
    pairs = itertools.combinations(zip(first, second, strict=True), 2)
    # The difference of the second ones would not be a number where both are infinite.
    return sum(int(np.sign(b[0] - a[0])) * ((a[1] > b[1]) - (a[1] < b[1])) for a, b in pairs)


def larger_p(blocks: Sequence[tuple[NDArray[np.float64], NDArray[np.bool_]]]) -> float:
    """Ask whether the marked values are larger than the others of their block.

    The statistic is the sum of the marked values' ranks within their blocks; 9,999 seeded rearrangements of the marks.

    blocks: for each block its values (n,) and which are marked (n,).

    Returns:
        Share of the rearrangements, the seen one included, with a statistic as large as the one seen.
    """
    generator = np.random.default_rng(SEED)
    seen, rearranged = 0.0, np.zeros(REARRANGEMENTS)
    for values, marked in blocks:
        ranks = values.argsort().argsort().astype(float)
        seen += ranks[marked].sum()
        shuffled = generator.permuted(np.tile(ranks, (REARRANGEMENTS, 1)), axis=1)
        rearranged += shuffled[:, : int(marked.sum())].sum(axis=1)
    return float((1 + (rearranged >= seen).sum()) / (1 + REARRANGEMENTS))
