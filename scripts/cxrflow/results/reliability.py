"""How far probabilities can be believed, on test images: calibration error, log loss, Brier score, and abstention.

The plug-in calibration error is biased: at 100 images a perfect model shows 0.1. Here the part of it that chance makes
is subtracted (Kumar et al. 2019, NeurIPS), and the rest is held against what a perfect model would show on these very
images and patients (consistency resampling: Broecker & Smith 2007, Weather and Forecasting 22:651-661).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrflow.files.formats import MIN_PATIENTS
from cxrflow.files.records import Predictions
from cxrflow.results.bootstrap import average_images, patient_numbers, resample_weights
from cxrflow.results.calibration import Calibration, count_patients, read_logits, softmax
from cxrflow.results.metrics import Floats

NULL_DRAWS = 999  # of labels from the probabilities
IMAGES_PER_BIN, MAX_BINS = 20, 15
PERCENTILES = (2.5, 97.5)


def measure_reliability(tested: Predictions, calibration: Calibration, resamples: int, seed: int) -> dict[str, Any]:
    """Return what metrics.json holds under `reliability`.

    `raw` is of the softmax as the network was trained, `calibrated` of the calibrated probabilities; `answered` is what
    comes of naming no class below the calibration's threshold.
    """
    logits = read_logits(tested)
    probabilities = {"raw": softmax(logits), "calibrated": calibration.calibrate(logits)}
    losses = {name: log_losses(p, tested.labels) for name, p in probabilities.items()}
    briers = {name: brier_scores(p, tested.labels) for name, p in probabilities.items()}
    patients = patient_numbers(tested.patient_ids)
    weights = weigh_patients(tested, resamples, seed)
    return {
        "temperature": calibration.temperature,
        "biased": calibration.biased,
        "threshold": calibration.threshold,
        "n_val_images": calibration.n_images,
        "n_val_patients": calibration.n_patients,
        "n_patients": min(n for n in count_patients(tested) if n),
        **{
            name: {
                "log_loss": average(losses[name], weights),
                "brier": average(briers[name], weights),
                **judge_calibration(p, tested.labels, patients, seed),
            }
            for name, p in probabilities.items()
        },
        "log_loss_change": average(losses["calibrated"] - losses["raw"], weights),
        "answered": measure_abstention(tested, probabilities["calibrated"], calibration.threshold, weights, seed),
    }


def weigh_patients(tested: Predictions, resamples: int, seed: int) -> Floats | None:
    """Return how often each image counts in each resample of patients, float64 (n, resamples).

    None without resamples, or where a class has too few patients for an interval.
    """
    if not resamples or min(n for n in count_patients(tested) if n) < MIN_PATIENTS:
        return None
    return np.concatenate([*resample_weights(patient_numbers(tested.patient_ids), resamples, seed)], axis=1)


def log_losses(probabilities: Floats, labels: NDArray[np.int64]) -> Floats:
    """Return -log p of the true class, float64 (n,)."""
    chosen = probabilities[np.arange(len(labels)), labels]
    return np.asarray(-np.log(np.maximum(chosen, np.finfo(np.float64).tiny)))


def brier_scores(probabilities: Floats, labels: NDArray[np.int64]) -> Floats:
    """Return the squared distance to the truth, summed over classes, 0 to 2, float64 (n,) (Brier 1950)."""
    return np.asarray(((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(axis=1))


def average(
    values: Floats, weights: Floats | None, percentiles: tuple[float, float] = PERCENTILES
) -> dict[str, float | None]:
    """Return mean and percentile interval over resamples of patients, weights float64 (n, resamples), if any."""
    low, high = (None, None) if weights is None else np.percentile(values @ weights / weights.sum(axis=0), percentiles)
    return {"value": float(values.mean()), "low": as_float(low), "high": as_float(high)}


def as_float(value: Any) -> float | None:
    """Return a plain number, or None for None."""
    return None if value is None else float(value)


def cut_bins(n: int) -> NDArray[np.int64]:
    """Return where bins of n sorted images begin: of equal size, at least 2 and at most MAX_BINS."""
    n_bins = int(np.clip(n // IMAGES_PER_BIN, 2, MAX_BINS))
    return np.linspace(0, n, n_bins, endpoint=False).astype(np.int64)


def calibration_errors(probabilities: Floats, labels: NDArray[np.int64]) -> Floats:
    """Return the debiased squared calibration error of several sets of labels, mean over classes: float64 (m,).

    Each class's images are sorted by its probability and cut into bins; the squared difference of its share and its
    mean probability there, less the variance of that share, (share)(1 - share) / (size - 1), is averaged. It may be
    below zero. probabilities: float64 (n, n_classes). labels: int64 (m, n).
    """
    n, n_classes = probabilities.shape
    starts = cut_bins(n)
    sizes = np.diff([*starts, n])
    errors = np.zeros(len(labels))
    for k in range(n_classes):
        order = np.argsort(probabilities[:, k], kind="stable")
        expected = np.add.reduceat(probabilities[order, k], starts) / sizes
        shares = np.add.reduceat((labels[:, order] == k).astype(np.float64), starts, axis=1) / sizes
        by_chance = shares * (1 - shares) / np.maximum(sizes - 1, 1)
        errors += (((shares - expected) ** 2 - by_chance) * sizes).sum(axis=1) / n
    return np.asarray(errors / n_classes)


def draw_labels(probabilities: Floats, patients: NDArray[np.int64], draws: int, seed: int) -> NDArray[np.int64]:
    """Draw labels from probabilities, int64 (draws, n): what a perfectly calibrated model would meet.

    All images of a patient share the draw, so that they are as alike as can be. patients: int64 (n,), from 0.
    """
    chances = np.random.default_rng(seed).random((draws, int(patients.max()) + 1))[:, patients]
    steps = probabilities.cumsum(axis=1)[:, :-1]
    return np.asarray(sum((chances >= step).astype(np.int64) for step in steps.T), np.int64)


def judge_calibration(
    probabilities: Floats, labels: NDArray[np.int64], patients: NDArray[np.int64], seed: int
) -> dict[str, float]:
    """Return the calibration error, its 95 % point under perfect calibration, and the p value of the latter.

    The error is the root of the debiased squared one, 0 where that is below zero.
    """
    found = float(calibration_errors(probabilities, labels[None])[0])
    null = calibration_errors(probabilities, draw_labels(probabilities, patients, NULL_DRAWS, seed))
    return {
        "error": max(0.0, found) ** 0.5,
        "error_by_chance": max(0.0, float(np.percentile(null, 95))) ** 0.5,
        "p": (1 + int((null >= found).sum())) / (1 + NULL_DRAWS),
    }


def measure_abstention(
    tested: Predictions, probabilities: Floats, threshold: float, weights: Floats | None, seed: int
) -> dict[str, Any]:
    """Return coverage, the error among the answered images, and the area under the risk-coverage curve.

    weights: float64 (n, resamples), for the intervals.
    """
    confidence, wrong = probabilities.max(axis=1), probabilities.argmax(axis=1) != tested.labels
    named = confidence >= threshold
    resamples = 0 if weights is None else weights.shape[1]

    def share(values: NDArray[np.bool_], among: NDArray[np.bool_]) -> dict[str, float | None]:
        if not among.any():
            return {"value": None, "low": None, "high": None}
        ids = [tested.patient_ids[row] for row in np.flatnonzero(among)]
        found = average_images({"share": values[among].astype(float).tolist()}, ids, max(resamples, 1), seed)["share"]
        return {"value": found.value, "low": found.low, "high": found.high}

    everyone = np.ones(len(named), np.bool_)
    area = area_under_risk(confidence, wrong, np.ones((len(named), 1)))[0]
    ends = (None, None) if weights is None else np.percentile(area_under_risk(confidence, wrong, weights), PERCENTILES)
    return {
        "coverage": share(named, everyone),
        "risk": share(wrong, named),
        "risk_of_all": share(wrong, everyone),
        "aurc": {"value": float(area), "low": as_float(ends[0]), "high": as_float(ends[1])},
        "aurc_oracle": float(area_under_risk(-wrong.astype(np.float64), wrong, np.ones((len(named), 1)))[0]),
    }


def risk_coverage(confidence: Floats, wrong: NDArray[np.bool_], weights: Floats) -> tuple[Floats, Floats]:
    """Return the share of images answered and the error among them, from the surest image to all.

    El-Yaniv & Wiener 2010, JMLR 11:1605-1641. weights: float64 (n, m). Both float64 (n, m).
    """
    order = np.argsort(-confidence, kind="stable")
    covered = weights[order].cumsum(axis=0)
    errors = (weights[order] * wrong[order, None]).cumsum(axis=0)
    return covered / covered[-1], np.divide(errors, covered, out=np.zeros_like(errors), where=covered > 0)


def area_under_risk(confidence: Floats, wrong: NDArray[np.bool_], weights: Floats) -> Floats:
    """Return the mean error over all coverages, AURC, float64 (m,) (Geifman & El-Yaniv 2017, NeurIPS).

    That of an order at random is the error of all images. weights: float64 (n, m), how often each image counts.
    """
    order = np.argsort(-confidence, kind="stable")
    _, risk = risk_coverage(confidence, wrong, weights)
    return np.asarray((risk * weights[order]).sum(axis=0) / weights.sum(axis=0))
