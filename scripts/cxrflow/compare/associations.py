"""How strongly what is known of an image beside its pixels goes with its class. Pure functions."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cxrflow.files.formats import MIN_PATIENTS
from cxrflow.results.bootstrap import LEVEL, Estimate, patient_numbers, resample_weights, wilson_interval

AGE_BOUNDS = (18, 40, 60, 80)  # years; the groups begin here
OLDEST = 120  # an age above it is an error of typing: the NIH's table has some
VISIT_BOUNDS = (1, 2, 5, 10)  # follow-up numbers; the first group is the first visit alone
BOUNDS = {"age_years": AGE_BOUNDS, "follow_up": VISIT_BOUNDS}


def group_fact(name: str, value: str) -> str:
    """Return the group of a fact of the index, empty where it is unknown: ages and visits by BOUNDS, words as they are.

    name: of `IndexRow.facts`.
    """
    if name not in BOUNDS:
        return value
    if not value.isdecimal() or (name == "age_years" and int(value) > OLDEST):
        return ""
    return str(np.searchsorted(BOUNDS[name], int(value), side="right"))


def associate(
    labels: Sequence[str], groups: Sequence[str], patient_ids: Sequence[str], resamples: int, seed: int
) -> Estimate:
    """Return Cramer's V of labels and groups with its interval over patients.

    There is none without resamples or under MIN_PATIENTS patients. labels, groups, patient_ids: of the same images. At
    0 the two have nothing to do with each other; at 1 one follows from the other. In simulations of 90 to 400 patients
    the interval covered a V of 0.3 to 0.5 in 90 to 92 % of cases, and independence in all.
    """
    from scipy.sparse import csr_array

    (n_labels, rows), (n_groups, columns) = (_number(values) for values in (labels, groups))
    patients = patient_numbers(list(patient_ids))
    shape = (n_labels * n_groups, int(patients.max()) + 1)
    cells = csr_array((np.ones(len(labels)), (rows * n_groups + columns, patients)), shape=shape)  # adds up its images

    def measure(weights: NDArray[np.float64], n_biases: float) -> NDArray[np.float64]:
        counts = (cells @ weights).T.reshape(-1, n_labels, n_groups)
        return np.array([cramers_v(table, n_biases) for table in counts])

    value = float(measure(np.ones((shape[1], 1)), 1)[0])
    chunks = resample_weights(np.arange(shape[1]), resamples, seed) if resamples else ()
    resampled = np.concatenate([np.zeros(0), *(measure(weights, 2 - value**2) for weights in chunks)])
    defined = resampled[~np.isnan(resampled)]
    if shape[1] < MIN_PATIENTS or not len(defined):
        return Estimate(value, None, None, resampled)
    if np.allclose(defined, value):  # as at 0 and 1, which is no certainty
        return Estimate(value, *wilson_interval(value, np.full(2, value), np.array([shape[1]])), resampled)
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return Estimate(value, low, high, resampled)


def cramers_v(counts: NDArray[np.float64], n_biases: float = 1) -> float:
    """Return Cramer's V of a table of counts (n_labels, n_groups), 0-1, without the bias of small samples.

    Bergsma 2013, J. Korean Stat. Soc. 42:323-328. Rows and columns without a count are left out; NaN where fewer than
    two of either are left. n_biases: how often the bias is in it; in a resample up to twice,
    once of the sample that it is from, where it fades as that one's V nears 1.
    """
    counts = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    n, (rows, columns) = counts.sum(), counts.shape
    if min(rows, columns) < 2 or n < 2:
        return float("nan")
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / n
    phi2 = ((counts - expected) ** 2 / expected).sum() / n
    unbiased = max(0.0, phi2 - n_biases * (rows - 1) * (columns - 1) / (n - 1))
    least = min(side - n_biases * (side - 1) ** 2 / (n - 1) for side in (rows, columns)) - 1
    return float(np.sqrt(min(1.0, unbiased / least))) if least > 0 else float("nan")


def _number(values: Sequence[str]) -> tuple[int, NDArray[np.int64]]:
    names, numbers = np.unique(np.array(values), return_inverse=True)
    return len(names), numbers.astype(np.int64)
