"""Models against the classifiers without a network."""

from pathlib import Path

import numpy as np
import pytest

from cxrflow.compare.baselines import (
    ABOVE,
    BELOW,
    UNKNOWN,
    count_above_thumbnail,
    describe_against_thumbnail,
    judge_difference,
    scored_rows,
)
from cxrflow.config.probes import BASELINES
from cxrflow.results.bootstrap import Estimate
from tests.compare.fake_study import ONE_MODEL, FakeStudy, collect_fake


@pytest.mark.parametrize(
    ("model", "probe", "verdict", "sentence"),
    [
        (0.9, 0.4, ABOVE, "1 of 1 model scores above a logistic regression on 16 px thumbnails."),
        (0.4, 0.9, BELOW, "none of 1 model score above a logistic regression on 16 px thumbnails and 1 below it."),
        (0.7, 0.7, UNKNOWN, "and 1 cannot be told from it."),
    ],
)
def test_a_model_is_above_the_thumbnail_below_it_or_not_told_from_it(
    tmp_path: Path, model: float, probe: float, verdict: str, sentence: str
) -> None:
    fake = FakeStudy(config=ONE_MODEL, skill=lambda _: model, probe_skill=probe)
    results = collect_fake(tmp_path, fake)
    rows = scored_rows(results)
    assert [row["above_thumbnail"] for row in rows] == [verdict, *[""] * len(BASELINES)]
    assert rows[0]["over_thumbnail"] == pytest.approx(rows[0]["macro_f1"] - rows[2]["macro_f1"])
    assert count_above_thumbnail(rows).endswith(sentence)
    words = {ABOVE: "Above", BELOW: "Below", UNKNOWN: "Cannot be told from"}
    assert describe_against_thumbnail(results, results.models).startswith(f"{words[verdict]} a logistic regression")


def test_among_more_models_a_clearer_difference_is_asked_for() -> None:
    resampled = np.random.default_rng(0).normal(0.025, 0.01, 10_000)
    difference = Estimate(0.025, *np.quantile(resampled, [0.025, 0.975]).tolist(), resampled)
    assert judge_difference(difference, 1) == ABOVE
    assert judge_difference(difference, 20) == UNKNOWN


def test_without_an_interval_nothing_is_told() -> None:
    assert judge_difference(Estimate(0.4, None, None, np.zeros(0)), 1) == UNKNOWN
