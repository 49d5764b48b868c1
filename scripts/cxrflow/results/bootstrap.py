"""95 % intervals by resampling patients: of every metric of one model, and of macro F1 on the same resamples.

The percentile bootstrap (Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13) with the patient as the
unit (cluster bootstrap: Field & Welsh 2007, J. R. Statist. Soc. B 69:369-390): images of one patient are alike, and
intervals that take them as independent are too narrow. What it cannot say: a metric that is 1 in the sample is 1 in
every resample, and of few patients (say, under 20) its intervals are too narrow.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrflow.errors import CxrflowError
from cxrflow.files.records import Predictions
from cxrflow.results.metrics import METRICS, Floats, Outcomes, Sample, macro_f1, whole_sample

LEVEL = 0.95
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
    """Return the mean macro F1 of models on the same images.

    With equal seeds, every call on the same images sees the same resamples: what two models share (hard patients, easy
    patients) cancels out of the difference of their estimates.

    Raises:
        CxrflowError: the predictions are of different images.
    """
    check_same_images(predictions)
    outcomes = [Outcomes(each.labels, each.probabilities) for each in predictions]
    value = float(np.mean([macro_f1(whole_sample(each))[0] for each in outcomes]))
    patients = patient_numbers(predictions[0].patient_ids)
    parts = [np.zeros(0)]
    if patients.max() > 0:  # with one patient, every resample is the same
        for weights in resample_weights(patients, resamples, seed):
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
