"""Tests of one family: p values and intervals agree, and Holm's procedure decides as it is written."""

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from cxrflow.results.bootstrap import Estimate, find_wilson, make_estimate, subtract_estimates
from cxrflow.results.families import ALPHA, LEAST_P, adjust_holm, find_p, step_down


def estimate(value: float, spread: float, seed: int = 0) -> Estimate:
    resampled = np.random.default_rng(seed).normal(value, spread, 2000)
    return make_estimate(value, find_wilson(value, resampled, np.array([100])), resampled)


def test_holm_is_that_of_a_worked_example():
    """Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, and none below the one before it."""
    assert adjust_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjust_holm([0.6, 0.7]) == [1.0, 1.0]
    assert adjust_holm([]) == []


@pytest.mark.parametrize(("one", "other"), [(0.8, 0.74), (0.74, 0.8), (0.7, 0.69), (0.9, 0.4)])
def test_the_p_value_is_one_minus_the_level_whose_interval_ends_at_zero(one: float, other: float) -> None:
    difference = subtract_estimates(estimate(one, 0.03), estimate(other, 0.03, seed=1))
    p = find_p(difference)
    wider, narrower = difference.at(1 - p * 0.98), difference.at(1 - min(1, p * 1.02))
    assert p == LEAST_P or wider.low <= 0 <= wider.high
    assert not narrower.low <= 0 <= narrower.high
    assert (p < ALPHA) == (not difference.low <= 0 <= difference.high)


def test_the_p_value_of_a_share_is_that_of_the_score_test() -> None:
    labels = np.arange(100) < 62
    resampled = np.random.default_rng(0).choice(labels, (20_000, 100)).mean(axis=1)
    share = make_estimate(0.62, find_wilson(0.62, resampled, np.array([100])), resampled)
    assert find_p(share, 0.5) == pytest.approx(0.0164, rel=0.1)  # 2 (1 - Phi(0.12 / 0.05))
    assert binomtest(62, 100).proportion_ci(1 - find_p(share, 0.5), "wilson").low == pytest.approx(0.5, abs=0.002)


def test_what_has_no_interval_or_no_difference_is_not_decided() -> None:
    assert find_p(Estimate(0.4, None, None, np.zeros(0))) == 1
    one = estimate(0.8, 0.03)
    assert find_p(subtract_estimates(one, one)) == 1


def test_another_level_of_an_interval_that_is_known_at_one_is_refused() -> None:
    with pytest.raises(ValueError, match="other levels"):
        Estimate(0.8, 0.7, 0.9, np.zeros(0)).at(0.99)


def test_step_down_decides_as_holm_does_and_every_interval_agrees_with_its_decision() -> None:
    """On 300 draws of a family of six, some with effects."""
    rng = np.random.default_rng(2)
    for _ in range(300):
        p = dict(zip("abcdef", (rng.random(6) ** rng.integers(1, 8)).tolist(), strict=True))
        found = step_down(list(p), lambda name, alpha, p=p: (p[name] <= alpha, alpha), lambda judged: judged[0])
        holm = dict(zip(p, adjust_holm(list(p.values())), strict=True))
        assert {name for name, (decided, _) in found.items() if decided} == {n for n in p if holm[n] <= ALPHA}
        assert all(found[n][0] for n in p if p[n] <= ALPHA / 6)  # never less than Bonferroni's
        decided = [alpha for is_decided, alpha in found.values() if is_decided]
        n_decided = len(decided)
        assert all(alpha <= ALPHA / (6 - n_decided + 1) + 1e-12 for alpha in decided)
        assert all(alpha == ALPHA / (6 - n_decided) for is_decided, alpha in found.values() if not is_decided)


def test_of_tests_without_effect_one_is_decided_in_at_most_five_of_a_hundred_families() -> None:
    families = np.random.default_rng(3).random((2000, 8))
    wrong = [any(step_down(range(8), lambda k, alpha, p=p: p[k] <= alpha, bool).values()) for p in families]
    assert np.mean(wrong) < 0.06


def test_of_eleven_two_sided_tests_one_errs_in_at_most_five_of_a_hundred_families() -> None:
    """Five without effect, six with one of either sign, all correlated; a decision for the wrong side errs, too."""
    rng, effects = np.random.default_rng(4), np.array([0.0] * 5 + [0.5, -0.5, 1.0, 2.0, -3.0, 4.0])
    z = effects + np.sqrt(0.5) * (rng.normal(size=(3000, 1)) + rng.normal(size=(3000, 11)))
    p = 2 * norm.sf(np.abs(z))
    decided = np.array([[*step_down(range(11), lambda k, a, p=each: p[k] <= a, bool).values()] for each in p])
    assert np.mean((decided & (np.sign(z) != np.sign(effects))).any(axis=1)) < 0.05
    by_bonferroni = p <= ALPHA / 11
    assert not (by_bonferroni & ~decided).any()
    assert decided.sum() > 1.02 * by_bonferroni.sum()
