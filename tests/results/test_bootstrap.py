"""Intervals by resampling patients."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from cxrflow.files.formats import MIN_PATIENTS
from cxrflow.files.records import Predictions
from cxrflow.results.bootstrap import (
    Estimate,
    average_estimates,
    count_behind,
    mean_macro_f1,
    resample_metrics,
    resample_weights,
    subtract_estimates,
    wilson_interval,
)
from cxrflow.results.metrics import METRICS, Outcomes, Sample, whole_sample
from tests.results.coverage import LARGE, SMALL, Setting, measure_coverage


def make_outcomes(generator: np.random.Generator, n: int, hit_rate: float) -> Outcomes:
    """Make two-class outcomes that are right with a known chance."""
    labels = generator.integers(2, size=n)
    right = generator.random(n) < hit_rate
    predicted = np.where(right, labels, 1 - labels)
    return Outcomes(labels, np.where(np.eye(2)[predicted] == 1, 0.8, 0.2))


def interval(
    outcomes: Outcomes, patients: list[str], name: str = "accuracy", resamples: int = 500
) -> tuple[float, float]:
    value = METRICS[name].compute(whole_sample(outcomes))[0]
    resampled = resample_metrics(outcomes, patients, resamples, seed=0)[name]
    low, high = wilson_interval(value, resampled, count_behind(outcomes, patients)[name])
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


def test_an_interval_of_a_share_is_wilsons_with_the_number_of_images() -> None:
    """One image each: the design effect is 1, whatever the share; as much as so many resamples can tell."""
    for n, hits in ((40, 30), (200, 190)):
        labels = np.arange(n) % 2
        predicted = np.where(np.arange(n) < hits, labels, 1 - labels)
        outcomes = Outcomes(labels, np.where(np.eye(2)[predicted] == 1, 0.8, 0.2))
        wilson = binomtest(hits, n).proportion_ci(method="wilson")
        assert interval(outcomes, [str(i) for i in range(n)], resamples=4000) == pytest.approx(wilson, abs=0.004)


@pytest.mark.parametrize("right", [True, False])
def test_all_right_or_all_wrong_is_not_certain(right: bool) -> None:
    """Nothing varies: n is then the patients, not their images, and of a mean over classes those of each class."""
    labels = np.repeat([0, 1, 2], 24)
    outcomes = Outcomes(labels, np.eye(3)[labels if right else (labels + 1) % 3])
    patients = [f"{i // 2}" for i in range(72)]
    wilson = binomtest(36 * right, 36).proportion_ci(method="wilson")
    for name in ("accuracy", "macro_f1"):
        assert interval(outcomes, patients, name) == pytest.approx(wilson, abs=1e-9)


def estimate_f1(n_small: int, labels_right: NDArray[np.bool_]) -> Estimate:
    ids = [f"image{i}" for i in range(60)]
    labels = (np.arange(60) < n_small).astype(np.int64)
    predicted = np.where(labels_right, labels, 1 - labels)
    return mean_macro_f1([[Predictions(ids, ids, labels, np.eye(2)[predicted] * 0.8 + 0.1, ["a", "b"])]], 200, seed=0)


def test_differences_of_macro_f1_have_no_interval_where_the_least_class_has_too_few_patients() -> None:
    for n, has_interval in ((MIN_PATIENTS - 1, False), (MIN_PATIENTS, True)):
        model = estimate_f1(n, np.arange(60) % 2 == 0)
        difference = subtract_estimates(model, model)
        assert (model.low is not None, difference.low is not None) == (has_interval, has_interval)
        assert model.n_patients == difference.n_patients == n


def test_a_difference_is_known_better_the_more_two_models_agree_and_never_exactly() -> None:
    """Equal models, models that err on other images, and two without an error."""
    even = np.arange(60) % 5 > 0
    one, other, perfect = (estimate_f1(30, right) for right in (even, np.roll(even, 1), np.ones(60, dtype=bool)))
    widths = [d.high - d.low for d in (subtract_estimates(one, each) for each in (one, other))]
    assert 0 < widths[0] < widths[1] / 3
    none = subtract_estimates(perfect, perfect)
    assert (none.value, none.low) == (0, -none.high)
    assert none.high >= perfect.high - perfect.low > 0.01


def test_the_mean_of_datasets_is_known_better_than_each_and_not_where_one_has_no_interval() -> None:
    one, none = estimate_f1(30, np.arange(60) % 5 > 0), estimate_f1(9, np.arange(60) % 5 > 0)
    both = average_estimates([one, one])
    assert both.value == one.value
    assert both.high - both.low == pytest.approx((one.high - one.low) / np.sqrt(2))
    assert average_estimates([one, none]).low is None


def test_precision_is_resampled_with_the_class_mix_of_the_subset() -> None:
    """Test subsets are stratified by class: another one would have the same mix."""
    outcomes = make_outcomes(np.random.default_rng(0), 120, 0.7)
    weights = np.concatenate([*resample_weights(np.arange(120), 300, seed=0)], axis=1)
    mixed = Sample(outcomes, weights).with_own_mix()
    totals = np.eye(2)[outcomes.labels].T @ mixed.weights
    np.testing.assert_allclose(totals, np.repeat(np.bincount(outcomes.labels)[:, None], 300, axis=1))
    precision = METRICS["precision"].compute
    found = resample_metrics(outcomes, [f"p{k:03}" for k in range(120)], 300, seed=0)["precision"]
    np.testing.assert_allclose(found, precision(mixed))
    assert found.std(axis=0).max() < precision(Sample(outcomes, weights)).std(axis=0).max()


def test_a_class_that_vanishes_in_a_resample_is_left_out_of_it() -> None:
    outcomes = Outcomes(np.array([0] * 10 + [1]), np.tile([0.6, 0.4], (11, 1)))
    resampled = resample_metrics(outcomes, [str(i) for i in range(11)], 200, seed=0)
    vanished = np.isnan(resampled["recall"][:, 1])
    assert 0 < vanished.sum() < 200
    assert np.isnan(resampled["macro_auroc"][vanished]).all()
    assert (resampled["macro_f1"][vanished] == 1.0).all()
    assert (resampled["recall"][~vanished, 1] == 0.0).all()


@pytest.mark.slow
@pytest.mark.parametrize("setting", SMALL + LARGE, ids=lambda setting: setting.title)
def test_intervals_cover_the_truth_as_often_as_they_say(setting: Setting) -> None:
    """From 30 patients a class 92 to 98 % of the time, of fewer 89 % or more; so many studies tell it to 3 %."""
    studies = 220 if sum(setting.patients) < 1000 else 40
    covered = measure_coverage(setting, studies, resamples=200)
    unsure = 2 * np.sqrt(0.95 * 0.05 / studies)
    least, most = (0.92, 0.98) if setting in LARGE else (0.89, 1.0)
    assert {name: share for name, share in covered.items() if not least - unsure <= share <= most + unsure} == {}
