"""95 % intervals by resampling patients: of every metric of one model, and of macro F1 on the same resamples.

The percentile bootstrap (Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13) with the patient as the
unit (cluster bootstrap: Field & Welsh 2007, J. R. Statist. Soc. B 69:369-390): images of one patient are alike, and
intervals that take them as independent are too narrow. What it cannot say: a metric that is 1 in the sample is 1 in
every resample, and of few patients (say, under 30 of a class) its intervals are too narrow.

Of fewer than MIN_PATIENTS patients there is no interval. A percentile interval never leaves the range of its sample: m
patients of a class with a recall of 0.5 are all right or all wrong with chance 2 / 2^m, and the interval then has zero
width and is wrong. For m < 6 that alone is more than 5 %, for any method that stays in the range of the sample (the
exact interval of a median, Conover 1999, Practical Nonparametric Statistics, 3rd ed., section 3.2).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrflow.errors import CxrflowError
from cxrflow.files.records import Predictions
from cxrflow.results.metrics import METRICS, Floats, Outcomes, Sample, macro_f1, whole_sample

LEVEL = 0.95
MIN_PATIENTS = 6  # the least m with 2 / 2^m <= 1 - LEVEL
CHUNK = 100  # resamples made at once. It changes which patients are sampled: leave it


def patient_numbers(patient_ids: list[str]) -> NDArray[np.int64]:
    """Return int64 (n,): equal numbers, from 0, for images of the same patient."""
    numbers: NDArray[np.int64] = np.unique(np.array(patient_ids), return_inverse=True)[1].astype(np.int64)
    return numbers


def resample_weights(patients: NDArray[np.int64], resamples: int, seed: int) -> Iterator[Floats]:
    """Sample as many patients as there are, with replacement, `resamples` times; yield the weights of a few at a time.

    patients: int64 (n,), from 0 without gaps.
    Yields float64 (n, some), together (n, resamples): how often each image's patient was sampled; all images of a
    patient weigh the same.
    """
    generator = np.random.default_rng(seed)
    n_patients = int(patients.max()) + 1
    for start in range(0, resamples, CHUNK):
        some = min(CHUNK, resamples - start)
        sampled = generator.integers(n_patients, size=(some, n_patients))
        cell = sampled * some + np.arange(some)[:, None]  # (patient, resample): a patient's lie side by side
        times = np.bincount(cell.ravel(), minlength=n_patients * some).reshape(n_patients, some)
        yield times.astype(np.float64)[patients]


def count_patients(outcomes: Outcomes, patient_ids: list[str]) -> dict[str, NDArray[np.int64]]:
    """Return how many patients there are for each thing that metrics rest on (`Metric.rests_on`), by class.

    Each int64 (n_classes,), of patients with an image that is of the class (`true`), is of another class (`rest`), or
    is predicted to be of the class (`predicted`); `all` counts every patient.
    """
    patients = patient_numbers(patient_ids)
    shape = (int(patients.max()) + 1, outcomes.probabilities.shape[1])
    true, predicted = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    true[patients, outcomes.labels] = predicted[patients, outcomes.probabilities.argmax(axis=1)] = True
    rest = true.sum(axis=1, keepdims=True) > true  # of a class that is not this one
    counted = {"true": true, "rest": rest, "predicted": predicted, "all": np.ones(shape, np.bool_)}
    return {what: of_class.sum(axis=0) for what, of_class in counted.items()}


def enough_patients(outcomes: Outcomes, patient_ids: list[str]) -> dict[str, NDArray[np.bool_]]:
    """Return for every metric of METRICS whether it rests on MIN_PATIENTS or more: bool (n_classes,), or () over all.

    A metric over all classes is a mean of theirs, and no surer than that of the smallest class that occurs.
    """
    counts = count_patients(outcomes, patient_ids)
    enough = {what: n >= MIN_PATIENTS for what, n in counts.items()}
    found: dict[str, NDArray[np.bool_]] = {}
    for name, metric in METRICS.items():
        each = np.logical_and.reduce([enough[what] for what in metric.rests_on])
        found[name] = each if metric.per_class else np.asarray(each[counts["true"] > 0].all())
    return found


def resample_metrics(outcomes: Outcomes, patient_ids: list[str], resamples: int, seed: int) -> dict[str, Floats]:
    """Return every metric of METRICS in every resample: float64 (resamples,), or (resamples, n_classes) per class.

    A class without a sampled image is undefined in that resample (NaN) and left out of its macro averages.
    """
    chunks: dict[str, list[Floats]] = {name: [] for name in METRICS}
    for weights in resample_weights(patient_numbers(patient_ids), resamples, seed):
        sample = Sample(outcomes, weights)
        for name, metric in METRICS.items():
            chunks[name].append(metric.compute(sample))
    return {name: np.concatenate(values) for name, values in chunks.items()}


def percentile_interval(values: Floats) -> tuple[float | None, float | None]:
    """Return the bounds that leave 2.5 % of the resamples on either side, over those where the metric is defined.

    values: float64 (resamples,). Returns (None, None) when none defines it.
    """
    defined = values[~np.isnan(values)]
    if not len(defined):
        return None, None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval; the ends are None where nothing was resampled."""

    value: float
    low: float | None
    high: float | None
    resampled: Floats  # float64 (resamples,), the value in each resample


def make_estimate(value: float, resampled: Floats) -> Estimate:
    """Return the value with the bounds that leave 2.5 % of its resamples on either side."""
    low, high = percentile_interval(resampled)
    return Estimate(value, low, high, resampled)


def mean_macro_f1(predictions: Sequence[Predictions], resamples: int, seed: int) -> Estimate:
    """Return the mean macro F1 of models on the same images; without resamples where a class has too few patients.

    With equal seeds, every call on the same images sees the same resamples: what two models share (hard patients, easy
    patients) cancels out of the difference of their estimates.

    Raises:
        CxrflowError: the predictions are of different images.
    """
    check_same_images(predictions)
    outcomes = [Outcomes(each.labels, each.probabilities) for each in predictions]
    value = float(np.mean([macro_f1(whole_sample(each))[0] for each in outcomes]))
    parts = [np.zeros(0)]
    if enough_patients(outcomes[0], predictions[0].patient_ids)["macro_f1"]:
        for weights in resample_weights(patient_numbers(predictions[0].patient_ids), resamples, seed):
            parts.append(np.mean([macro_f1(Sample(each, weights)) for each in outcomes], axis=0))
    return make_estimate(value, np.concatenate(parts))


def subtract_estimates(one: Estimate, other: Estimate) -> Estimate:
    """Return one minus the other; both come from the same images and seed."""
    return make_estimate(one.value - other.value, one.resampled - other.resampled)


def check_same_images(predictions: Sequence[Predictions]) -> None:
    """Raise CxrflowError unless all predictions are of the same images with the same labels."""
    described = [(each.image_ids, each.patient_ids, each.labels.tolist(), each.class_names) for each in predictions]
    if any(each != described[0] for each in described):
        raise CxrflowError(
            "models of one dataset were evaluated on different images, so their scores cannot be paired: delete the"
            " predictions.csv and val_predictions.csv of all its models and run evaluate again"
        )
