"""The figure of a confusion matrix."""

import pytest
from matplotlib.figure import Figure

from cxrflow.results.scoring import draw_confusion, format_interval, score_predictions
from tests.results.test_scoring import make_predictions


def texts(figure: Figure) -> list[str]:
    """Return every text of a figure, of its axes too."""
    return [text.get_text() for artist in (figure, *figure.axes) for text in artist.texts]


def test_every_cell_shows_its_count_and_names_are_on_both_axes() -> None:
    scores = score_predictions(make_predictions(), resamples=20, seed=0)
    figure = draw_confusion(scores, "COVID-19 Radiography, ResNet-34")
    (axes,) = figure.axes
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


def test_title_and_macro_f1_with_its_interval_stand_above() -> None:
    scores = score_predictions(make_predictions(), resamples=20, seed=0)
    above = " ".join(texts(draw_confusion(scores, "Kermany, ResNet-34")))
    assert "Kermany, ResNet-34" in above
    assert format_interval(scores["macro_f1"]) in above
    assert "40 images of 20 patients" in above


@pytest.mark.parametrize(
    ("score", "text"),
    [
        ({"value": 0.6534, "low": 0.6, "high": 0.7}, "0.653 (95 % interval 0.600 to 0.700)"),
        ({"value": 0.6534, "low": None, "high": None}, "0.653"),
        ({"value": None, "low": None, "high": None}, "undefined"),
    ],
)
def test_interval_as_text(score: dict[str, float | None], text: str) -> None:
    assert format_interval(score) == text
