"""Calibration error and abstention where the truth is known."""

import numpy as np
import pytest

from cxrflow.results.calibration import Calibration, fit_threshold, softmax
from cxrflow.results.reliability import (
    area_under_risk,
    calibration_errors,
    draw_labels,
    judge_calibration,
    measure_reliability,
)
from tests.results.test_calibration import NAMES, Floats, draw, predict

AS_IT_IS = Calibration(NAMES, 1.0, [0.0] * 3, [1 / 3] * 3)


def test_what_is_calibrated_passes_and_what_is_too_sure_does_not() -> None:
    logits, labels = draw(500, 0)
    patients = np.arange(500)
    right, wrong = (judge_calibration(softmax(k * logits), labels, patients, seed=0) for k in (1, 2))
    assert right["p"] > 0.05
    assert right["error"] < right["error_by_chance"]
    assert wrong["p"] == pytest.approx(0.001)
    assert wrong["error"] > 2 * wrong["error_by_chance"]


@pytest.mark.slow
def test_calibrated_models_pass_in_93_of_100_also_with_several_images_a_patient() -> None:
    passed = {1: 0, 3: 0}
    for images, seed in ((images, seed) for images in passed for seed in range(200)):
        logits, _ = draw(135, seed)
        patients = np.arange(135) // images
        (labels,) = draw_labels(softmax(logits), patients, 1, 1000 + seed)
        passed[images] += judge_calibration(softmax(logits), labels, patients, seed)["p"] > 0.05
    assert min(passed.values()) >= 186, passed


def test_a_shifted_prior_is_seen() -> None:
    logits, labels = draw(500, 1)
    assert judge_calibration(softmax(logits + np.log([9, 1, 1])), labels, np.arange(500), seed=0)["p"] < 0.01


def test_the_debiased_error_is_that_of_its_definition_and_zero_on_average() -> None:
    probabilities = np.repeat([[0.8, 0.2], [0.3, 0.7]], 20, axis=0)  # two bins, one per group
    labels = np.array([0] * 12 + [1] * 8 + [0] * 5 + [1] * 15)
    by_chance = (0.6 * 0.4 + 0.25 * 0.75) / 2 / 19
    expected = ((0.8 - 0.6) ** 2 + (0.3 - 0.25) ** 2) / 2 - by_chance
    assert calibration_errors(probabilities, labels[None])[0] == pytest.approx(expected)
    logits, _ = draw(200, 2)
    null = calibration_errors(softmax(logits), draw_labels(softmax(logits), np.arange(200), 4000, seed=0))
    assert abs(null.mean()) < 4 * null.std() / 4000**0.5


def test_drawn_labels_follow_the_probabilities_and_patients_share_the_draw() -> None:
    probabilities: Floats = np.tile([0.1, 0.2, 0.7], (4, 1))
    labels = draw_labels(probabilities, np.array([0, 0, 1, 1]), 20_000, seed=0)
    np.testing.assert_array_equal(labels[:, 0], labels[:, 1])
    assert (labels[:, 0] != labels[:, 2]).any()
    np.testing.assert_allclose(np.bincount(labels[:, 3]) / 20_000, [0.1, 0.2, 0.7], atol=0.015)


def test_at_least_the_wanted_share_is_answered_of_images_to_come() -> None:
    confidence = np.random.default_rng(0).permutation(np.arange(1, 100) / 100)  # 99 images: with the next one, 100
    probabilities = np.stack([confidence, 1 - confidence, np.zeros(99)], axis=1)
    probabilities = np.maximum(probabilities, probabilities[:, [1, 0, 2]])  # 0.50 to 0.99
    assert fit_threshold(probabilities, 0.9) == pytest.approx(np.sort(probabilities.max(axis=1))[9])
    assert fit_threshold(probabilities[:8], 0.9) == 0.0  # of eight images none can be spared
    assert fit_threshold(probabilities, 1.0) == 0.0


def test_the_area_under_the_risk_coverage_curve() -> None:
    confidence, wrong = np.array([0.9, 0.5, 0.8, 0.7]), np.array([False, True, True, False])
    ones = np.ones((4, 1))
    assert area_under_risk(confidence, wrong, ones) == pytest.approx((0 + 1 / 2 + 1 / 3 + 2 / 4) / 4)
    twice = np.array([[1.0], [2.0], [0.0], [1.0]])  # a resample: the second image twice, the third not at all
    assert area_under_risk(confidence, wrong, twice) == pytest.approx((0 + 0 + 2 * 2 / 4) / 4)


def test_reliability_of_a_model_that_is_too_sure() -> None:
    logits, labels = draw(400, 3)
    found = measure_reliability(
        predict(2 * logits, labels), Calibration(NAMES, 2.0, [0.0] * 3, [1 / 3] * 3, threshold=0.5), 200, 0
    )
    assert found["raw"]["p"] < 0.01 < found["calibrated"]["p"]
    assert found["log_loss_change"]["high"] < 0
    assert found["log_loss_change"]["value"] == pytest.approx(
        found["calibrated"]["log_loss"]["value"] - found["raw"]["log_loss"]["value"]
    )
    answered = found["answered"]
    assert answered["coverage"]["low"] < answered["coverage"]["value"] == (softmax(logits).max(axis=1) >= 0.5).mean()
    assert answered["risk"]["value"] < answered["risk_of_all"]["value"]
    assert answered["aurc_oracle"] < answered["aurc"]["value"] < answered["risk_of_all"]["value"]


def test_few_patients_have_no_interval() -> None:
    found = measure_reliability(predict(*draw(20, 4)), AS_IT_IS, 100, 0)
    assert found["n_patients"] < 10
    assert found["calibrated"]["log_loss"]["low"] is None
    assert found["answered"]["aurc"]["low"] is None
