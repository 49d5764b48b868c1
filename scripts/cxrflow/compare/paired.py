"""Differences between models on the same test patients, with bootstrap intervals.

Pure functions; reads and writes nothing. Patients are drawn as for the intervals of metrics.json, and every model of a
dataset sees the same draws: what two models share (hard patients, easy patients) cancels out of their difference, which
is why it is told more finely than two overlapping intervals would allow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cxrflow.compare.collect import ModelResult
from cxrflow.errors import CxrflowError
from cxrflow.files.records import Predictions
from cxrflow.results.bootstrap import draw_weights, patient_numbers, percentile_interval
from cxrflow.results.metrics import Floats, Outcomes, Sample, macro_f1, whole_sample


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval; the ends are None where nothing was drawn.

    Attributes:
        draws: float64 (n_draws,), the value in each resample.
    """

    value: float
    low: float | None
    high: float | None
    draws: Floats


def make_estimate(value: float, draws: Floats) -> Estimate:
    """Return the value with the bounds that leave 2.5 % of its draws on either side."""
    low, high = percentile_interval(draws)
    return Estimate(value, low, high, draws)


def draw_macro_f1(predictions: Sequence[Predictions], draws: int, seed: int) -> Floats:
    """Return macro F1 of each model in resamples of the patients, float64 (n_models, draws).

    predictions: of the same images by different models. With the seed of metrics.json the draws are the same as there.
    """
    outcomes = [Outcomes(each.labels, each.probabilities) for each in predictions]
    patients = patient_numbers(predictions[0].patient_ids)
    if patients.max() == 0:
        return np.zeros((len(outcomes), 0))  # one patient: every resample is the same
    parts = [np.zeros((len(outcomes), 0))]
    for weights in draw_weights(patients, draws, seed):
        parts.append(np.stack([macro_f1(Sample(each, weights)) for each in outcomes]))
    return np.concatenate(parts, axis=1)


def mean_macro_f1(models: Sequence[ModelResult], draws: int, seed: int) -> Estimate:
    """Return the mean macro F1 of models of one dataset.

    Raises:
        CxrflowError: the models were tested on different images.
    """
    check_same_images(models)
    values = [
        float(macro_f1(whole_sample(Outcomes(p.labels, p.probabilities)))[0]) for p in (m.predictions for m in models)
    ]
    drawn = draw_macro_f1([model.predictions for model in models], draws, seed)
    return make_estimate(float(np.mean(values)), drawn.mean(axis=0))


def mean_difference(pairs: Sequence[tuple[ModelResult, ModelResult]], draws: int, seed: int) -> Estimate:
    """Return the mean over pairs of (first minus second) macro F1; all of one dataset, on the same draws.

    Raises:
        CxrflowError: the models were tested on different images.
    """
    check_same_images([model for pair in pairs for model in pair])
    first, second = (mean_macro_f1([pair[side] for pair in pairs], draws, seed) for side in (0, 1))
    return make_estimate(first.value - second.value, first.draws - second.draws)


def mean_estimate(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean of estimates from different datasets.

    Their patients have nothing to do with each other, so the draws are shuffled before they are averaged: made with one
    seed, they would otherwise go together.
    """
    generator = np.random.default_rng(0)
    n_draws = min(len(each.draws) for each in estimates)
    drawn = np.array([generator.permutation(each.draws)[:n_draws] for each in estimates]).mean(axis=0)
    return make_estimate(float(np.mean([each.value for each in estimates])), drawn)


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
