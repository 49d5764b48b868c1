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
from cxrflow.compare.scores import score_models
from cxrflow.config.probes import BASELINES
from cxrflow.results.bootstrap import Estimate
from tests.compare.fake_study import ONE_MODEL, FakeStudy, collect_fake


@pytest.mark.parametrize(
    ("model", "probe", "verdict", "sentence"),
    [
        (0.9, 0.4, ABOVE, "1 of 1 model scores above a logistic regression on 16 px thumbnails."),
        (0.4, 0.9, BELOW, "none of 1 model scores above a logistic regression on 16 px thumbnails and 1 below it."),
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
    said = describe_against_thumbnail(results, score_models(results, results.models), "covid")
    assert said.startswith(f"{words[verdict]} a logistic regression")


def test_among_more_models_a_clearer_difference_is_asked_for(tmp_path: Path) -> None:
    """Holm: one model that is alone above the thumbnail at 5 % is not, as one of twelve that are level with it."""
    alone = {**ONE_MODEL, "seeds": [0]}
    rows = scored_rows(collect_fake(tmp_path / "one", FakeStudy(alone, skill=lambda _: 0.87, probe_skill=0.7)))
    assert (rows[0]["over_thumbnail_low"] > 0, rows[0]["above_thumbnail"]) == (True, ABOVE)
    many = {**ONE_MODEL, "seeds": list(range(12))}
    skill = {0: 0.87}
    fake = FakeStudy(many, skill=lambda model: skill.get(model.seed, 0.7), probe_skill=0.7)
    rows = scored_rows(collect_fake(tmp_path / "many", fake))
    assert (rows[0]["over_thumbnail_low"] > 0, rows[0]["above_thumbnail"]) == (True, UNKNOWN)


def test_without_an_interval_nothing_is_told() -> None:
    assert judge_difference(Estimate(0.4, None, None, np.zeros(0)), 1.0) == UNKNOWN
