"""Every metric against scikit-learn, and what is undefined."""

import numpy as np
import pytest
from sklearn import metrics as sk

from cxrflow.results.metrics import (
    METRICS,
    Outcomes,
    Sample,
    chance_macro_f1,
    whole_sample,
)

N_CLASSES = 4


def make_outcomes(seed: int = 0, n: int = 300, decimals: int = 8) -> Outcomes:
    """Draw labels and half-informative probabilities; few decimals make equal scores."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(N_CLASSES, size=n)
    logits = generator.normal(size=(n, N_CLASSES)) + 1.2 * np.eye(N_CLASSES)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Outcomes(labels, probabilities.round(decimals))


def sklearn_value(name: str, outcomes: Outcomes, weights: np.ndarray) -> np.ndarray | float:
    """Return what scikit-learn computes for a name in METRICS; a metric without an entry here fails its test."""
    y, p, w = outcomes.labels, outcomes.probabilities, weights
    predicted = p.argmax(axis=1)
    reference = {
        "macro_f1": lambda: sk.f1_score(y, predicted, average="macro", sample_weight=w, zero_division=0),
        "accuracy": lambda: sk.accuracy_score(y, predicted, sample_weight=w),
        "macro_auroc": lambda: np.mean(sklearn_value("auroc", outcomes, weights)),
        "precision": lambda: sk.precision_score(y, predicted, average=None, sample_weight=w),
        "recall": lambda: sk.recall_score(y, predicted, average=None, sample_weight=w),
        "f1": lambda: sk.f1_score(y, predicted, average=None, sample_weight=w),
        "auroc": lambda: np.array([sk.roc_auc_score(y == k, p[:, k], sample_weight=w) for k in range(N_CLASSES)]),
    }
    return reference[name]()


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("decimals", [8, 1])
def test_metric_equals_scikit_learn_in_every_draw(name: str, decimals: int) -> None:
    outcomes = make_outcomes(decimals=decimals)
    weights = np.random.default_rng(1).integers(0, 4, size=(300, 3)).astype(float)
    weights[:, 0] = 1
    value = METRICS[name].compute(Sample(outcomes, weights))
    assert value.shape == ((3, N_CLASSES) if METRICS[name].per_class else (3,))
    for draw in range(3):
        np.testing.assert_allclose(value[draw], sklearn_value(name, outcomes, weights[:, draw]), rtol=1e-12)


def test_weights_count_images_as_if_they_were_repeated() -> None:
    outcomes = make_outcomes(n=60)
    times = np.random.default_rng(2).integers(0, 3, size=60)
    repeated = Outcomes(np.repeat(outcomes.labels, times), np.repeat(outcomes.probabilities, times, axis=0))
    for metric in METRICS.values():
        weighted = metric.compute(Sample(outcomes, times[:, None].astype(float)))
        np.testing.assert_allclose(weighted, metric.compute(whole_sample(repeated)), rtol=1e-12)


def test_a_class_that_is_never_predicted_has_no_precision_and_an_f1_of_0() -> None:
    outcomes = Outcomes(np.array([0, 0, 1]), np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]]))
    value = {name: metric.compute(whole_sample(outcomes))[0] for name, metric in METRICS.items()}
    assert np.isnan(value["precision"][1])
    assert value["recall"][1] == 0
    assert value["f1"][1] == 0
    assert value["macro_f1"] == pytest.approx(0.4)  # (0.8 + 0) / 2


def test_a_class_neither_there_nor_predicted_is_undefined_and_left_out_of_macro_averages() -> None:
    outcomes = Outcomes(np.array([0, 0, 1]), np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.3, 0.7, 0]]))
    value = {name: metric.compute(whole_sample(outcomes))[0] for name, metric in METRICS.items()}
    for name in ("precision", "recall", "f1", "auroc"):
        assert np.isnan(value[name]).tolist() == [False, False, True]
    assert value["macro_f1"] == pytest.approx(sk.f1_score([0, 0, 1], [0, 1, 1], average="macro"))
    assert value["macro_auroc"] == pytest.approx(np.mean(value["auroc"][:2]))


def test_macro_auroc_of_one_class_alone_is_undefined() -> None:
    outcomes = Outcomes(np.array([0, 0]), np.array([[0.9, 0.1], [0.4, 0.6]]))
    assert np.isnan(METRICS["macro_auroc"].compute(whole_sample(outcomes))[0])


@pytest.mark.parametrize("counts", [[100, 100, 100], [900, 60, 40], [10, 0, 30]])
def test_no_blind_guess_expects_more_than_chance(counts: list[int]) -> None:
    """Simulate guesses of many shares, the three named ones among them: none may beat the bound, one must reach it."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), np.array(counts) * 20)
    present = np.array(counts) > 0
    priors = np.array(counts) / sum(counts)
    shares = [*np.eye(3), priors, np.full(3, 1 / 3), *generator.dirichlet(np.ones(3), size=20)]
    scores = []
    for share in shares:
        guesses = generator.choice(3, size=len(labels), p=share)
        scores.append(sk.f1_score(labels, guesses, average="macro", zero_division=0))
    chance = chance_macro_f1(np.array(counts))
    assert max(scores) == pytest.approx(chance, abs=0.02)
    assert scores[3] == pytest.approx(chance, abs=0.02)
    assert chance == pytest.approx(1 / present.sum())
