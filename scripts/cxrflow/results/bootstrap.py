"""95 % intervals of every metric by drawing patients with replacement.

The percentile bootstrap (Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13) with the patient as the
unit (cluster bootstrap: Field & Welsh 2007, J. R. Statist. Soc. B 69:369-390): images of one patient are alike, and
intervals that take them as independent are too narrow. What it cannot say: a metric that is 1 in the sample is 1 in
every draw, and of few patients (say, under 20) its intervals are too narrow.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cxrflow.results.metrics import METRICS, Floats, Outcomes, Sample

LEVEL = 0.95
CHUNK = 100  # draws drawn at once. It changes which patients are drawn: leave it
WEIGHTS_AT_ONCE = 2**22  # images x draws computed at once, 32 MB: more leave the cache and take twice as long


def patient_numbers(patient_ids: list[str]) -> NDArray[np.int64]:
    """Return int64 (n,): equal numbers, from 0, for images of the same patient."""
    numbers: NDArray[np.int64] = np.unique(np.array(patient_ids), return_inverse=True)[1].astype(np.int64)
    return numbers


def draw_weights(patients: NDArray[np.int64], draws: int, seed: int) -> Iterator[Floats]:
    """Draw as many patients as there are, with replacement, `draws` times; yield the weights of a few draws at a time.

    patients: int64 (n,), from 0 without gaps.
    Yields float64 (n, some), together (n, draws): how often each image's patient was drawn; all images of a patient
    weigh the same.
    """
    generator = np.random.default_rng(seed)
    n_patients = int(patients.max()) + 1
    at_once = max(1, WEIGHTS_AT_ONCE // len(patients))
    for start in range(0, draws, CHUNK):
        times = _draw_patients(n_patients, min(CHUNK, draws - start), generator)
        for first in range(0, times.shape[1], at_once):
            yield times[:, first : first + at_once].astype(np.float64)[patients]


def _draw_patients(n_patients: int, draws: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return int64 (n_patients, draws): how often each was drawn."""
    drawn = generator.integers(n_patients, size=(draws, n_patients))
    cell = drawn * draws + np.arange(draws)[:, None]  # (patient, draw), so that a patient's draws lie side by side
    return np.bincount(cell.ravel(), minlength=n_patients * draws).reshape(n_patients, draws)


def resample_metrics(outcomes: Outcomes, patient_ids: list[str], draws: int, seed: int) -> dict[str, Floats]:
    """Return every metric of METRICS in every draw: float64 (draws,), or (draws, n_classes) where per class.

    A class without a drawn image is undefined in that draw (NaN) and left out of that draw's macro averages.
    """
    chunks: dict[str, list[Floats]] = {name: [] for name in METRICS}
    for weights in draw_weights(patient_numbers(patient_ids), draws, seed):
        sample = Sample(outcomes, weights)
        for name, metric in METRICS.items():
            chunks[name].append(metric.compute(sample))
    return {name: np.concatenate(values) for name, values in chunks.items()}


def percentile_interval(values: Floats) -> tuple[float | None, float | None]:
    """Return the bounds that leave 2.5 % of the draws on either side, over the draws where the metric is defined.

    values: float64 (draws,). Returns (None, None) when no draw defines it.
    """
    defined = values[~np.isnan(values)]
    if not len(defined):
        return None, None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
