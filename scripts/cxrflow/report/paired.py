"""Differences between models on the same test patients, with bootstrap intervals.

Pure functions; reads and writes nothing. Patients are drawn with replacement, as in the intervals of metrics.json, and
every model of a dataset sees the same draws: what two models share (hard patients, easy patients) cancels out of their
difference, which is why it is told more finely than two overlapping intervals would allow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrflow.errors import CxrflowError
from cxrflow.records import Predictions
from cxrflow.report.collect import ModelResult

DRAWS_AT_ONCE = 250  # keeps the draws of 10,000 patients below 25 MB


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval; the ends are None where nothing was drawn.

    Attributes:
        draws: float64 (n_draws,), the value in each resample.
    """

    value: float
    low: float | None
    high: float | None
    draws: NDArray[np.float64]


def make_estimate(value: float, draws: NDArray[np.float64]) -> Estimate:
    """Return the value with the 2.5th and 97.5th percentile of its draws."""
    if not len(draws):
        return Estimate(value, None, None, draws)
    low, high = np.percentile(draws, [2.5, 97.5])
    return Estimate(value, float(low), float(high), draws)


def count_confusions(predictions: Predictions) -> NDArray[np.float64]:
    """Return each patient's confusion matrix, float64 (n_patients, n_classes, n_classes), rows true; patients sorted."""
    patients, position = np.unique(np.array(predictions.patient_ids), return_inverse=True)
    n_classes = len(predictions.class_names)
    counts = np.zeros((len(patients), n_classes, n_classes))
    np.add.at(counts, (position, predictions.labels, predictions.predicted), 1)
    return counts


def macro_f1(confusions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return macro F1 of confusion matrices, float64 (...,) from (..., n_classes, n_classes).

    F1 of a class is 2 TP / (2 TP + FP + FN); a class that is neither present nor predicted is left out of the mean.
    """
    hits = np.diagonal(confusions, axis1=-2, axis2=-1)
    present_or_predicted = confusions.sum(axis=-1) + confusions.sum(axis=-2)
    with np.errstate(invalid="ignore"):
        mean: NDArray[np.float64] = np.nanmean(2 * hits / present_or_predicted, axis=-1)
    return mean


def draw_macro_f1(confusions: NDArray[np.float64], draws: int, seed: Sequence[int]) -> NDArray[np.float64]:
    """Return macro F1 in `draws` resamples of patients, float64 (draws,); equal seeds draw the same patients."""
    n_patients, n_classes, _ = confusions.shape
    generator = np.random.default_rng(list(seed))
    flat = confusions.reshape(n_patients, -1)
    parts = []
    for start in range(0, draws, DRAWS_AT_ONCE):
        size = min(DRAWS_AT_ONCE, draws - start)
        times_drawn = generator.multinomial(n_patients, np.full(n_patients, 1 / n_patients), size=size)
        parts.append(macro_f1((times_drawn @ flat).reshape(size, n_classes, n_classes)))
    return np.concatenate([np.zeros(0), *parts])


def mean_macro_f1(models: Sequence[ModelResult], draws: int, seed: Sequence[int]) -> Estimate:
    """Return the mean macro F1 of models of one dataset, on the same draws of test patients.

    Raises:
        CxrflowError: the models were tested on different images.
    """
    check_same_images(models)
    confusions = [count_confusions(model.predictions) for model in models]
    value = float(np.mean([macro_f1(each.sum(axis=0)) for each in confusions]))
    return make_estimate(value, np.mean([draw_macro_f1(each, draws, seed) for each in confusions], axis=0))


def mean_difference(pairs: Sequence[tuple[ModelResult, ModelResult]], draws: int, seed: Sequence[int]) -> Estimate:
    """Return the mean over pairs of (first minus second) macro F1; all of one dataset, on the same draws.

    Raises:
        CxrflowError: the models were tested on different images.
    """
    check_same_images([model for pair in pairs for model in pair])
    first, second = (mean_macro_f1([pair[side] for pair in pairs], draws, seed) for side in (0, 1))
    return make_estimate(first.value - second.value, first.draws - second.draws)


def mean_estimate(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean of estimates from different datasets, whose patients were drawn independently."""
    return make_estimate(
        float(np.mean([each.value for each in estimates])), np.mean([each.draws for each in estimates], axis=0)
    )


def check_same_images(models: Sequence[ModelResult]) -> None:
    """Raise CxrflowError unless all models have predictions of the same images with the same labels."""
    for model in models[1:]:
        if _test_set(model) != _test_set(models[0]):
            raise CxrflowError(
                f"{model.folder} and {models[0].folder} were tested on different images, so their scores cannot be"
                " paired: delete both predictions.csv and run evaluate again"
            )


def _test_set(model: ModelResult) -> tuple[Any, ...]:
    predictions = model.predictions
    return predictions.image_ids, predictions.patient_ids, predictions.labels.tolist(), predictions.class_names
