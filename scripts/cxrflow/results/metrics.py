"""Metrics of a classifier, for many resamples at once. Pure numpy: importing sklearn.metrics costs 1.5 s.

Every metric is a function of a `Sample`, which counts each image with a weight, once per resample. The published number
is the metric of the one resample in which every weight is 1; its interval comes from those of `bootstrap`. To add a
metric, add one line to METRICS: it then appears in metrics.json with its interval.

What is undefined is NaN here and null in metrics.json, never a silent 0:
the precision of a class that is never predicted, the recall of one without images, the AUROC of one without images or
with nothing but its images. F1 is 2 TP / (2 TP + FP + FN), hence 0 for a class that occurs and is never predicted (what
scikit-learn calls zero_division=0) and undefined only for a class neither there nor predicted. Macro averages are over
the classes where the metric is defined, as scikit-learn averages over the labels that occur.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Outcomes:
    """True classes and predictions of n images, and what every resample of them shares."""

    labels: NDArray[np.int64]  # (n,), index of the true class
    probabilities: Floats  # float64 (n, n_classes)

    @cached_property
    def in_cell(self) -> Floats:
        """float64 (n, n_classes^2), 1 where the image falls into the cell (true, predicted) of the confusion matrix."""
        n_classes = self.probabilities.shape[1]
        cell = self.labels * n_classes + self.probabilities.argmax(axis=1)  # argmax: the first of equals
        in_cell: Floats = (cell[:, None] == np.arange(n_classes**2)).astype(np.float64)
        return in_cell

    @cached_property
    def rankings(self) -> list["Ranking"]:
        """One per class: its images against the rest, by its probability."""
        return [rank_scores(scores, self.labels == k) for k, scores in enumerate(self.probabilities.T)]


@dataclass(frozen=True)
class Sample:
    """Outcomes of n images, and how often each image counts in each resample."""

    outcomes: Outcomes
    weights: Floats  # float64 (n, n_resamples), at least 0; all 1 for the sample itself

    @cached_property
    def confusion(self) -> Floats:
        """float64 (n_resamples, n_classes, n_classes), weighted images; rows true, columns predicted."""
        n_classes = self.outcomes.probabilities.shape[1]
        counts: Floats = self.weights.T @ self.outcomes.in_cell
        return counts.reshape(-1, n_classes, n_classes)

    def with_own_mix(self) -> "Sample":
        """Return the sample with each class weighing in every resample as much as in the sample itself.

        A class that a resample lacks stays away.
        """
        labels, n_classes = self.outcomes.labels, self.outcomes.probabilities.shape[1]
        of_class = (labels[:, None] == np.arange(n_classes)).astype(np.float64)
        drawn = of_class.T @ self.weights
        factors = np.divide(of_class.sum(axis=0)[:, None], drawn, out=np.zeros_like(drawn), where=drawn > 0)
        return Sample(self.outcomes, self.weights * factors[labels])

    @cached_property
    def auroc(self) -> Floats:
        """float64 (n_resamples, n_classes), each class against the rest."""
        return np.stack([area_under_roc(ranking, self.weights) for ranking in self.outcomes.rankings], axis=1)


def whole_sample(outcomes: Outcomes) -> Sample:
    """Return the sample itself: one resample, every image once."""
    return Sample(outcomes, np.ones((len(outcomes.labels), 1)))


@dataclass(frozen=True)
class Ranking:
    """Where the positive images stand among the negative ones."""

    negatives: NDArray[np.int64]  # (n_negative,), row numbers in order of score
    positives: NDArray[np.int64]  # (n_positive,), row numbers
    below: NDArray[np.int64]  # (n_positive,), how many negatives score below each positive
    not_above: NDArray[np.int64]  # (n_positive,), how many score below it or the same


def rank_scores(scores: Floats, positive: NDArray[np.bool_]) -> Ranking:
    """Rank positive against negative images. scores: float64 (n,). positive: bool (n,)."""
    order = np.argsort(scores, kind="stable")
    negatives, positives = order[~positive[order]], order[positive[order]]
    below, not_above = (np.searchsorted(scores[negatives], scores[positives], side) for side in ("left", "right"))
    return Ranking(negatives, positives, below, not_above)


def area_under_roc(ranking: Ranking, weights: Floats) -> Floats:
    """Return the chance that a positive image scores above a negative one, equal scores counting half.

    The Mann-Whitney form of the area under the ROC curve (Hanley & McNeil 1982, Radiology 143:29-36), weighted.

    weights: float64 (n, n_resamples).
    Returns float64 (n_resamples,), NaN where a resample has no positive or no negative image.
    """
    weight_below = np.zeros((len(ranking.negatives) + 1, weights.shape[1]))  # row i: of the i negatives scored lowest
    np.cumsum(weights[ranking.negatives], axis=0, out=weight_below[1:])
    positives = weights[ranking.positives]
    wins = np.einsum("id,id->d", positives, weight_below[ranking.below] + weight_below[ranking.not_above]) / 2.0
    return _divide(wins, positives.sum(axis=0) * weight_below[-1])


def average_precision(scores: Floats, positive: NDArray[np.bool_], weights: Floats) -> Floats:
    """Return the mean precision over the positive images, each at the threshold of its own score, weighted.

    As scikit-learn's average_precision_score: a sum of steps, without interpolation. Guessing reaches the share of
    positive images, not 0.5.

    scores: float64 (n,). positive: bool (n,). weights: float64 (n, n_resamples).
    Returns float64 (n_resamples,), NaN where a resample has no positive image.
    """
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # of each group of equal scores
    found = np.cumsum(weights[order], axis=0)[last]
    hits = np.cumsum(weights[order] * positive[order, None], axis=0)[last]
    precision = np.divide(hits, found, out=np.zeros_like(hits), where=found > 0)
    return _divide((np.diff(hits, axis=0, prepend=0.0) * precision).sum(axis=0), hits[-1])


def accuracy(sample: Sample) -> Floats:
    """Return the share of images predicted right: float64 (n_resamples,)."""
    confusion = sample.confusion
    return _divide(np.trace(confusion, axis1=1, axis2=2), confusion.sum(axis=(1, 2)))


def precision(sample: Sample) -> Floats:
    """Return TP / (TP + FP): float64 (n_resamples, n_classes)."""
    return _divide(_hits(sample), sample.confusion.sum(axis=1))


def recall(sample: Sample) -> Floats:
    """Return TP / (TP + FN), also called sensitivity: float64 (n_resamples, n_classes)."""
    return _divide(_hits(sample), sample.confusion.sum(axis=2))


def f1(sample: Sample) -> Floats:
    """Return 2 TP / (2 TP + FP + FN): float64 (n_resamples, n_classes)."""
    return _divide(2.0 * _hits(sample), sample.confusion.sum(axis=1) + sample.confusion.sum(axis=2))


def macro_f1(sample: Sample) -> Floats:
    """Return the plain mean of the classes' F1: float64 (n_resamples,)."""
    return mean_of_defined(f1(sample))


def macro_auroc(sample: Sample) -> Floats:
    """Return the plain mean of the classes' one-vs-rest AUROC: float64 (n_resamples,)."""
    return mean_of_defined(sample.auroc)


def _hits(sample: Sample) -> Floats:
    return np.diagonal(sample.confusion, axis1=1, axis2=2)


def _divide(numerator: Floats, denominator: Floats) -> Floats:
    return np.divide(numerator, denominator, out=np.full_like(denominator, np.nan), where=denominator > 0)


def mean_of_defined(values: Floats) -> Floats:
    """Return the mean over classes where a metric is defined: float64 (n_resamples, n_classes) -> (n_resamples,)."""
    defined = ~np.isnan(values)
    return _divide(np.where(defined, values, 0.0).sum(axis=1), defined.sum(axis=1).astype(np.float64))


@dataclass(frozen=True)
class Metric:
    """One metric of metrics.json."""

    title: str  # its name in tables and figures
    per_class: bool  # `compute` gives (n_resamples, n_classes) instead of (n_resamples,)
    compute: Callable[[Sample], Floats]  # 0 to 1 or NaN
    # Images that an interval needs enough patients of, of each class: those of it (true), of other classes (rest),
    # predicted to be of it (predicted), or all.
    rests_on: tuple[str, ...] = ("true",)
    # Whether the share of each class decides it. Test subsets are stratified by class, so another one would have the
    # same shares: resamples are weighed to have them, too, or the interval would be too wide.
    depends_on_mix: bool = False


METRICS = {
    "macro_f1": Metric("Macro F1", False, macro_f1),
    "accuracy": Metric("Accuracy", False, accuracy, ("all",)),
    "macro_auroc": Metric("Macro AUROC", False, macro_auroc, ("true", "rest")),
    "f1": Metric("F1", True, f1),
    "precision": Metric("Precision", True, precision, ("predicted",), depends_on_mix=True),
    "recall": Metric("Recall", True, recall),
    "auroc": Metric("AUROC", True, lambda sample: sample.auroc, ("true", "rest")),
}


def chance_macro_f1(counts: NDArray[np.int64]) -> float:
    """Return the best macro F1 that guessing without looking at the image can expect: 1 / k for k classes with images.

    A guess that says c with chance q_c, whatever the image shows, has F1_c = 2 p_c q_c / (p_c + q_c) where p_c is the
    share of class c (an upper bound in small samples: Jensen). The sum over the classes is concave in q, and all slopes
    2 p^2 / (p + q)^2 are equal at q = p: guessing by the shares is best, and F1_c is then p_c.

    counts: int64 (n_classes,), images of each class, at least one of them above 0.
    """
    return 1.0 / int((counts > 0).sum())
