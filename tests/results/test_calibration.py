"""Calibration against scikit-learn, and where the truth is known: labels drawn from probabilities."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from cxrflow.errors import CxrflowError
from cxrflow.files.records import Predictions
from cxrflow.results.calibration import (
    Calibration,
    fit_calibration,
    fit_scale,
    parse_calibration,
    parse_prevalence,
    read_logits,
    softmax,
)
from cxrflow.results.reliability import log_losses

NAMES = ["COVID", "Normal", "Viral"]
EVEN = dict.fromkeys(NAMES, 1.0)
Floats = NDArray[np.float64]


def draw(n: int, seed: int, shares: list[float] | None = None) -> tuple[Floats, NDArray[np.int64]]:
    """Return logits whose softmax is the truth, and labels drawn from it; `shares`: how common the classes are."""
    generator = np.random.default_rng(seed)
    logits = 2 * generator.normal(size=(n, 3)) + np.log(shares or [1 / 3] * 3)
    steps = softmax(logits).cumsum(axis=1)[:, :2]
    return logits, (generator.random((n, 1)) >= steps).sum(axis=1).astype(np.int64)


def predict(logits: Floats, labels: NDArray[np.int64]) -> Predictions:
    ids = [str(row) for row in range(len(labels))]
    return Predictions(ids, ids, labels, softmax(logits), NAMES)


class Fixed(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A classifier whose input is its logits."""

    def fit(self, *_: object) -> "Fixed":
        self.classes_ = np.arange(3)  # its sign of being fitted
        return self

    def decision_function(self, logits: Floats) -> Floats:
        return logits

    def predict(self, logits: Floats) -> NDArray[np.int64]:
        return logits.argmax(axis=1)


def test_the_temperature_is_that_of_scikit_learn() -> None:
    logits, labels = draw(3000, 1)
    reference = CalibratedClassifierCV(FrozenEstimator(Fixed().fit()), method="temperature").fit(3 * logits, labels)
    found = predict(3 * logits, labels)
    temperature, bias = fit_scale(read_logits(found), np.zeros(3), found, biased=False)
    np.testing.assert_array_equal(bias, 0)
    np.testing.assert_allclose(
        softmax(3 * logits / temperature), reference.predict_proba(3 * logits), atol=1e-3
    )  # apart by the penalty: one patient in 3000


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_scaled_logits_are_scaled_back(factor: float) -> None:
    logits, labels = draw(2000, 2)
    calibration = fit_calibration(predict(factor * logits, labels), EVEN, dict.fromkeys(NAMES, 1 / 3))
    assert calibration.temperature == pytest.approx(factor, rel=0.1)
    assert calibration.biased


def test_class_weights_are_taken_back_even_where_no_bias_is_fitted() -> None:
    shares = {"COVID": 0.8, "Normal": 0.1, "Viral": 0.1}
    logits, labels = draw(150, 3, [*shares.values()])
    weighted = logits - np.log([*shares.values()])  # what a loss with inverse weights teaches
    calibration = fit_calibration(
        predict(weighted, labels), {name: 1 / share for name, share in shares.items()}, shares
    )
    assert not calibration.biased
    assert calibration.prevalence == pytest.approx([*shares.values()])
    new, truth = draw(3000, 4, [*shares.values()])
    new_weighted = new - np.log([*shares.values()])
    before, after = (log_losses(p, truth).mean() for p in (softmax(new_weighted), calibration.calibrate(new_weighted)))
    best = log_losses(softmax(new), truth).mean()
    assert before - best > 0.1
    assert after - best < 0.02


def test_a_bias_is_mended_where_there_are_patients_enough() -> None:
    logits, labels = draw(2000, 5)
    shifted = logits + np.log([9, 1, 1])
    calibration = fit_calibration(predict(shifted, labels), EVEN, dict.fromkeys(NAMES, 1 / 3))
    np.testing.assert_allclose(calibration.calibrate(shifted), softmax(logits), atol=0.06)


def test_no_error_on_validation_makes_nothing_certain() -> None:
    labels = np.arange(90) % 3
    calibration = fit_calibration(predict(4 * np.eye(3)[labels], labels), EVEN, dict.fromkeys(NAMES, 1 / 3))
    assert 0.3 < calibration.temperature < 1
    assert calibration.calibrate(4 * np.eye(3)).max() < 0.9999


def test_another_prevalence_reweighs() -> None:
    calibration = Calibration(NAMES, 2.0, [0.0] * 3, [0.5, 0.25, 0.25])
    logits = np.random.default_rng(6).normal(size=(5, 3))
    changed = calibration.with_prevalence({"Viral": 0.25, "Normal": 0.25, "COVID": 0.5})
    np.testing.assert_allclose(changed.calibrate(logits), calibration.calibrate(logits))
    rare = calibration.with_prevalence(parse_prevalence("COVID=0.01, Normal=0.9,Viral=0.09"))
    expected = calibration.calibrate(logits) * [0.01 / 0.5, 0.9 / 0.25, 0.09 / 0.25]
    np.testing.assert_allclose(rare.calibrate(logits), expected / expected.sum(axis=1, keepdims=True))
    assert rare.describe_prevalence().endswith("COVID 1 %, Normal 90 %, Viral 9 %.")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("COVID", "expected CLASS=SHARE"),
        ("COVID=x,Normal=1,Viral=1", "expected CLASS=SHARE"),
        ("COVID=0.5,COVID=0.5", "names a class twice"),
        ("COVID=0.5,Normal=0.5", "knows COVID, Normal, Viral"),
        ("COVID=0.5,Normal=0.5,Viral=0", "is not made of shares"),
        ("COVID=0.5,Normal=0.5,Viral=nan", "is not made of shares"),
        ("COVID=5,Normal=90,Viral=5", "is not made of shares"),
    ],
)
def test_a_prior_that_is_none_is_refused(text: str, message: str) -> None:
    calibration = Calibration(NAMES, 1.0, [0.0] * 3, [1 / 3] * 3)
    with pytest.raises(CxrflowError, match=message):
        calibration.with_prevalence(parse_prevalence(text))


def test_below_the_threshold_no_class_is_named() -> None:
    calibration = Calibration(NAMES, 1.0, [0.0] * 3, [1 / 3] * 3, threshold=0.6)
    assert calibration.choose(np.array([0.1, 0.6, 0.3])) == 1
    assert calibration.choose(np.array([0.1, 0.59, 0.31])) is None


def test_a_calibration_comes_back_as_it_was_and_another_models_is_refused() -> None:
    calibration = Calibration(NAMES, 1.5, [0.1, 0.0, -0.1], [0.2, 0.3, 0.5], 0.4, True, 90, 30)
    values = dataclasses.asdict(calibration)
    assert parse_calibration(values, NAMES, "x.json") == calibration
    with pytest.raises(CxrflowError, match=r"x.json is of a model with other classes"):
        parse_calibration(values, ["a", "b", "c"], "x.json")
    with pytest.raises(CxrflowError, match=r"x.json is not a calibration of this version"):
        parse_calibration(values | {"more": 1}, NAMES, "x.json")


def test_applying_needs_neither_scipy_nor_torch() -> None:
    code = (
        "import sys\nfor name in ('scipy', 'torch', 'sklearn'): sys.modules[name] = None\n"
        "from cxrflow.results.calibration import Calibration\n"
        "print(Calibration(['a', 'b'], 1.0, [0.0, 0.0], [0.5, 0.5]).calibrate([[1.0, 1.0]]))"
    )
    scripts = Path(__file__).resolve().parents[2] / "scripts"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=scripts, check=False)
    assert run.stdout == "[[0.5 0.5]]\n", run.stderr
