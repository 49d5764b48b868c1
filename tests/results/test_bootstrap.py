"""Intervals by resampling patients."""

import numpy as np
import pytest

from cxrflow.files.records import Predictions
from cxrflow.results.bootstrap import (
    LEVEL,
    MIN_PATIENTS,
    mean_macro_f1,
    percentile_interval,
    resample_metrics,
    resample_weights,
    subtract_estimates,
)
from cxrflow.results.metrics import Outcomes


def make_outcomes(generator: np.random.Generator, n: int, hit_rate: float) -> Outcomes:
    """Make two-class outcomes that are right with a known chance."""
    labels = generator.integers(2, size=n)
    right = generator.random(n) < hit_rate
    predicted = np.where(right, labels, 1 - labels)
    return Outcomes(labels, np.where(np.eye(2)[predicted] == 1, 0.8, 0.2))


def interval(
    outcomes: Outcomes, patients: list[str], name: str = "accuracy", resamples: int = 500
) -> tuple[float, float]:
    low, high = percentile_interval(resample_metrics(outcomes, patients, resamples, seed=0)[name])
    assert low is not None
    assert high is not None
    return low, high


def test_all_images_of_a_patient_are_sampled_together_and_as_many_patients_as_there_are() -> None:
    patients = np.array([0, 0, 0, 1, 2, 2])
    weights = np.concatenate([*resample_weights(patients, 250, seed=0)], axis=1)
    assert weights.shape == (6, 250)
    assert (weights[0] == weights[1]).all()
    assert (weights[0] == weights[2]).all()
    assert (weights[4] == weights[5]).all()
    assert (weights[[0, 3, 4]].sum(axis=0) == 3).all()
    assert len(np.unique(weights[0])) > 1


def test_copies_of_a_patients_images_do_not_narrow_the_interval() -> None:
    """Copies tell nothing new: as one patient's they leave the interval as it is, as strangers they halve it."""
    outcomes = make_outcomes(np.random.default_rng(2), 100, 0.7)
    copies = Outcomes(np.tile(outcomes.labels, 4), np.tile(outcomes.probabilities, (4, 1)))
    single = np.ptp(interval(outcomes, [str(i) for i in range(100)]))
    together = np.ptp(interval(copies, [str(i) for i in range(100)] * 4))
    apart = np.ptp(interval(copies, [str(i) for i in range(400)]))
    assert together == pytest.approx(single, rel=1e-9)
    assert apart == pytest.approx(single / 2, rel=0.15)


def test_95_percent_intervals_cover_the_truth_about_95_percent_of_the_time() -> None:
    """250 simulated studies of 80 patients with 1 to 3 images, whose errors come by patient."""
    generator = np.random.default_rng(3)
    covered = 0
    for _ in range(250):
        images = generator.integers(1, 4, size=80)
        hit_rates = np.repeat(generator.choice([0.5, 0.9], size=80), images)  # mean 0.7
        labels = generator.integers(2, size=images.sum())
        predicted = np.where(generator.random(images.sum()) < hit_rates, labels, 1 - labels)
        outcomes = Outcomes(labels, np.where(np.eye(2)[predicted] == 1, 0.8, 0.2))
        low, high = interval(outcomes, np.repeat(np.arange(80), images).astype(str).tolist(), resamples=200)
        covered += low <= 0.7 <= high
    assert 0.90 <= covered / 250 <= 0.98


def test_the_least_number_of_patients_is_that_whose_range_can_hold_95_percent() -> None:
    """A class with a recall of 0.5 is all right or all wrong with chance 2 / 2^m: an interval of no width misses it."""
    assert 2 * 0.5**MIN_PATIENTS <= 1 - LEVEL < 2 * 0.5 ** (MIN_PATIENTS - 1)


def test_differences_of_macro_f1_have_no_interval_where_the_least_class_has_too_few_patients() -> None:
    ids = [f"image{i}" for i in range(60)]
    for n, has_interval in ((MIN_PATIENTS - 1, False), (MIN_PATIENTS, True)):
        labels = (np.arange(60) < n).astype(np.int64)
        probabilities = np.where(np.arange(60)[:, None] % 2, [0.9, 0.1], [0.2, 0.8])
        model = mean_macro_f1([Predictions(ids, ids, labels, probabilities, ["a", "b"])], 50, seed=0)
        difference = subtract_estimates(model, model)
        assert (model.low is not None, difference.low is not None) == (has_interval, has_interval)


def test_a_class_that_vanishes_in_a_resample_is_left_out_of_it() -> None:
    outcomes = Outcomes(np.array([0] * 10 + [1]), np.tile([0.6, 0.4], (11, 1)))
    resampled = resample_metrics(outcomes, [str(i) for i in range(11)], 200, seed=0)
    vanished = np.isnan(resampled["recall"][:, 1])
    assert 0 < vanished.sum() < 200
    assert np.isnan(resampled["macro_auroc"][vanished]).all()
    assert (resampled["macro_f1"][vanished] == 1.0).all()
    assert percentile_interval(resampled["recall"][:, 1]) == (0.0, 0.0)
