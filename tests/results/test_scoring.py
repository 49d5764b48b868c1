"""The content of metrics.json, and the figure of the confusion matrix."""

import json
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from cxrflow.files.formats import MIN_PATIENTS
from cxrflow.files.records import Predictions
from cxrflow.results.metrics import METRICS, Metric
from cxrflow.results.scoring import draw_confusion, format_interval, score_predictions


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
    nothing = {"value": None, "low": None, "high": None, "n_patients": 0}
    assert scores["per_class"]["nodule"]["recall"] == scores["per_class"]["nodule"]["auroc"] == nothing


@pytest.mark.parametrize(("resamples", "n_patients"), [(0, 20), (50, 1), (50, 2 * MIN_PATIENTS - 2)])
def test_no_resamples_or_too_few_patients_give_no_interval(resamples: int, n_patients: int) -> None:
    scores = score_predictions(make_predictions(n_patients=n_patients), resamples=resamples, seed=0)
    assert scores["macro_f1"]["value"] > 0
    assert (scores["macro_f1"]["low"], scores["macro_f1"]["high"]) == (None, None)
    assert scores["per_class"]["mass"]["f1"]["low"] is None


def score_small_class(n_small: int) -> dict[str, Any]:
    """Score 100 images of as many patients, of which few are of the class `small` and all of these are missed."""
    labels = (np.arange(100) < n_small).astype(np.int64)
    probabilities = np.stack([0.5 + np.arange(100) / 250, 0.5 - np.arange(100) / 250], axis=1)
    ids = [f"image{i}" for i in range(100)]
    return score_predictions(Predictions(ids, ids, labels, probabilities, ["large", "small"]), resamples=100, seed=0)


def test_a_class_of_one_image_has_scores_and_no_intervals_nor_have_means_over_classes() -> None:
    scores = score_small_class(1)
    for name in ("recall", "f1", "auroc"):
        assert scores["per_class"]["small"][name]["value"] is not None
        assert scores["per_class"]["small"][name]["low"] is scores["per_class"]["small"][name]["high"] is None
    assert scores["per_class"]["large"]["auroc"]["low"] is None, "against a rest of one patient"
    assert scores["per_class"]["large"]["recall"]["low"] is not None
    assert scores["macro_f1"]["low"] is scores["macro_auroc"]["low"] is None
    assert scores["accuracy"]["low"] is not None
    assert (scores["per_class"]["small"]["support"], scores["per_class"]["small"]["n_patients"]) == (1, 1)


def test_the_least_number_of_patients_has_intervals_and_a_class_that_is_hardly_predicted_no_precision() -> None:
    scores = score_small_class(MIN_PATIENTS)
    assert scores["macro_f1"]["low"] is not None
    assert scores["per_class"]["small"]["auroc"]["low"] is not None
    assert score_small_class(MIN_PATIENTS - 1)["macro_f1"]["low"] is None
    predictions = make_predictions()
    predictions.probabilities[:] = np.where(np.arange(40)[:, None] < 3, [0.1, 0.8, 0.1], [0.8, 0.1, 0.1])
    mass = score_predictions(predictions, resamples=100, seed=0)["per_class"]["mass"]
    assert (mass["precision"]["low"], mass["precision"]["value"] is None) == (None, False)
    assert mass["recall"]["low"] is not None


def test_the_value_does_not_depend_on_the_resamples_and_the_interval_on_nothing_but_the_seed() -> None:
    first, again, other = (score_predictions(make_predictions(), resamples=60, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first["macro_f1"]["value"] == other["macro_f1"]["value"]
    assert first["macro_f1"]["low"] != other["macro_f1"]["low"]


@pytest.mark.parametrize("per_class", [False, True])
def test_a_metric_is_one_entry_of_the_table(per_class: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    compute = METRICS["recall" if per_class else "accuracy"].compute
    monkeypatch.setitem(METRICS, "new", Metric("New", per_class, compute, ("true",) if per_class else ("all",)))
    scores = score_predictions(make_predictions(), resamples=50, seed=0)
    of_which = scores["per_class"]["mass"] if per_class else scores
    assert of_which["new"] == of_which["recall" if per_class else "accuracy"]


def texts(figure: Figure) -> list[str]:
    """Return every text of a figure, of its axes too."""
    return [text.get_text() for artist in (figure, *figure.axes) for text in artist.texts]


def test_every_cell_shows_its_count_names_are_on_both_axes_and_title_and_interval_above() -> None:
    scores = score_predictions(make_predictions(), resamples=20, seed=0)
    figure = draw_confusion(scores, "COVID-19 Radiography, ResNet-34")
    (axes,) = figure.axes
    above = " ".join(texts(figure))
    assert "COVID-19 Radiography, ResNet-34" in above
    assert format_interval(scores["macro_f1"]) in above
    assert "40 images of 20 patients" in above
    shown = [text.get_text() for text in axes.texts]
    assert shown[0::2] == [str(count) for row in scores["confusion"] for count in row]
    assert [label.get_text() for label in axes.get_xticklabels()] == scores["class_names"]
    assert [label.get_text().split("\n") for label in axes.get_yticklabels()] == [
        ["atelectasis", "n = 20"],
        ["mass", "n = 20"],
        ["nodule", "n = 0"],
    ]


def test_colour_is_the_share_of_the_true_class_and_a_class_without_images_stays_empty() -> None:
    scores = {**score_predictions(make_predictions(), 0, 0), "confusion": [[3, 1, 0], [0, 2, 2], [0, 0, 0]]}
    (axes,) = draw_confusion(scores, "title").axes
    assert axes.images[0].get_array().tolist() == [[0.75, 0.25, 0], [0, 0.5, 0.5], [0, 0, 0]]


@pytest.mark.parametrize(
    ("score", "text"),
    [
        ({"value": 0.6534, "low": 0.6, "high": 0.7, "n_patients": 30}, "0.653 (95 % interval 0.600 to 0.700)"),
        ({"value": 0.6534, "low": 0.6, "high": 0.7, "n_patients": 29}, "0.653 (95 % interval 0.600 to 0.700) ‡"),
        ({"value": 0.6534, "low": None, "high": None, "n_patients": 9}, "0.653 (too few patients)"),
        ({"value": None, "low": None, "high": None, "n_patients": 0}, "undefined"),
    ],
)
def test_interval_as_text(score: dict[str, float | None], text: str) -> None:
    assert format_interval(score) == text
