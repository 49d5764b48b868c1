"""How often chance alone would give as clear a pattern: permutation tests. Pure functions.

Permutation tests need no distribution and no large sample: they ask in what share of the rearrangements, were there no
effect, the statistic would be at least as large (Good 2005, Permutation, Parametric and Bootstrap Tests of Hypotheses).
"""

import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cxrflow.files.records import Predictions
from cxrflow.results.bootstrap import patient_numbers

REARRANGEMENTS = 9999
SEED = 0
CHUNK = 500  # rearrangements made at once
ROUNDING = 1e-9  # two differences that are closer are the same


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


def swap_p(pairs: Sequence[tuple[Predictions, Predictions]]) -> float:
    """Ask whether two models differ in macro F1, in the mean over pairs of trainings, tested on the same images.

    If they do not, it does not matter which of the two predicted a patient's images: 9,999 seeded rearrangements swap
    the predictions of each patient or not. Patients are swapped, not images: McNemar's test, which takes images as
    independent, calls up to a third of equal models different where patients have many (measured).

    Returns:
        Share of the rearrangements, the seen one included, with a difference as large, in either direction: never 0
        (Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9:39).
    """
    counts = [[_count_by_patient(each) for each in pair] for pair in pairs]
    n_true = np.bincount(pairs[0][0].labels, minlength=len(pairs[0][0].class_names))

    def differ(swapped: NDArray[np.float32]) -> NDArray[np.float64]:  # (n, n_patients) -> (n,)
        total = np.zeros(len(swapped))
        for first, second in counts:
            moved = (swapped @ (second - first).reshape(len(first), -1)).reshape(len(swapped), 2, -1)
            sides = (first.sum(axis=0) + moved, second.sum(axis=0) - moved)
            one, other = (_macro_f1_of(side.astype(np.float64), n_true) for side in sides)
            total += one - other
        return total / len(counts)

    n_patients = len(counts[0][0])
    seen = abs(differ(np.zeros((1, n_patients), np.float32))[0])
    generator, as_large = np.random.default_rng(SEED), 0
    for start in range(0, REARRANGEMENTS, CHUNK):
        some = min(CHUNK, REARRANGEMENTS - start)
        swapped = generator.integers(2, size=(some, n_patients)).astype(np.float32)
        as_large += int((abs(differ(swapped)) >= seen - ROUNDING).sum())
    return (1 + as_large) / (1 + REARRANGEMENTS)


def _count_by_patient(predictions: Predictions) -> NDArray[np.float32]:
    """Return each patient's images that are predicted right (0) and at all (1) as each class: (n_patients, 2, n)."""
    patients, predicted = patient_numbers(predictions.patient_ids), predictions.predicted
    counts = np.zeros((int(patients.max()) + 1, 2, len(predictions.class_names)), np.float32)
    right = predicted == predictions.labels
    for row, (patient, of_class) in enumerate(zip(patients, predicted, strict=True)):
        counts[patient, 0, of_class] += right[row]
        counts[patient, 1, of_class] += 1
    return counts


def _macro_f1_of(counts: NDArray[np.float64], n_true: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return macro F1 from images right and predicted, float64 (n, 2, n_classes): float64 (n,)."""
    either = counts[:, 1] + n_true
    f1 = np.divide(2 * counts[:, 0], either, out=np.full(either.shape, np.nan), where=either > 0)
    return np.asarray(np.nanmean(f1, axis=1))
