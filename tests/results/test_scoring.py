"""The content of metrics.json."""

import json

import numpy as np
import pytest

from cxrflow.files.records import Predictions
from cxrflow.results.metrics import METRICS, Metric
from cxrflow.results.scoring import score_predictions


def make_predictions(n: int = 40, n_patients: int = 20) -> Predictions:
    generator = np.random.default_rng(0)
    labels = np.arange(n) % 2
    probabilities = generator.dirichlet(np.ones(3), size=n)
    return Predictions(
        image_ids=[f"image{i}" for i in range(n)],
        patient_ids=[f"patient{i % n_patients}" for i in range(n)],
        labels=labels,
        probabilities=probabilities,
        class_names=["atelectasis", "mass", "nodule"],
    )


def test_every_metric_is_there_with_its_interval_and_the_whole_is_json() -> None:
    scores = score_predictions(make_predictions(), resamples=100, seed=0)
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    for name, metric in METRICS.items():
        score = scores["per_class"]["mass"][name] if metric.per_class else scores[name]
        assert score["low"] <= score["value"] <= score["high"]
        assert score["low"] < score["high"]


def test_counts() -> None:
    scores = score_predictions(make_predictions(), resamples=0, seed=0)
    assert (scores["n_images"], scores["n_patients"]) == (40, 20)
    assert np.array(scores["confusion"]).sum(axis=1).tolist() == [20, 20, 0]
    assert [scores["per_class"][name]["support"] for name in scores["class_names"]] == [20, 20, 0]
    assert scores["bootstrap"] == {"resamples": 0, "seed": 0, "unit": "patient"}


def test_what_is_undefined_is_null_with_null_bounds() -> None:
    scores = score_predictions(make_predictions(), resamples=50, seed=0)
    assert scores["per_class"]["nodule"]["recall"] == {"value": None, "low": None, "high": None}
    assert scores["per_class"]["nodule"]["auroc"] == {"value": None, "low": None, "high": None}


@pytest.mark.parametrize(("resamples", "n_patients"), [(0, 20), (50, 1)])
def test_no_resamples_or_one_patient_gives_no_interval(resamples: int, n_patients: int) -> None:
    scores = score_predictions(make_predictions(n_patients=n_patients), resamples=resamples, seed=0)
    assert scores["macro_f1"]["value"] > 0
    assert (scores["macro_f1"]["low"], scores["macro_f1"]["high"]) == (None, None)
    assert scores["per_class"]["mass"]["f1"]["low"] is None


def test_the_value_does_not_depend_on_the_resamples_and_the_interval_on_nothing_but_the_seed() -> None:
    first, again, other = (score_predictions(make_predictions(), resamples=60, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first["macro_f1"]["value"] == other["macro_f1"]["value"]
    assert first["macro_f1"]["low"] != other["macro_f1"]["low"]


@pytest.mark.parametrize("per_class", [False, True])
def test_a_metric_is_one_entry_of_the_table(per_class: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    compute = METRICS["recall" if per_class else "accuracy"].compute
    monkeypatch.setitem(METRICS, "new", Metric("New", per_class, compute))
    scores = score_predictions(make_predictions(), resamples=50, seed=0)
    of_which = scores["per_class"]["mass"] if per_class else scores
    assert of_which["new"] == of_which["recall" if per_class else "accuracy"]
