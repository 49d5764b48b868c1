import numpy as np
import pytest

from cxrflow.config.settings import PreprocessSettings
from cxrflow.data.preprocessing import preprocess_image, preprocessing_steps
from cxrflow.data.samples import (
    break_name,
    choose_examples,
    choose_samples,
    draw_samples,
)
from tests.data.toy import draw, index_row


def texts(figure):
    return [text.get_text() for text in figure.texts]


@pytest.mark.parametrize("seed", range(4))
def test_samples_are_of_distinct_patients_first(seed):
    rows = [index_row(f"a{i:02}", "a", "p0" if i < 20 else f"p{i}") for i in range(22)] + [index_row("b0", "b")]
    chosen = choose_samples(rows, per_class=3, seed=seed)
    assert list(chosen) == ["a", "b"]
    assert {rows[number].patient_id for number in chosen["a"]} == {"p0", "p20", "p21"}
    assert chosen["b"] == [22]
    assert len(choose_samples(rows, per_class=5, seed=seed)["a"]) == 5
    assert choose_samples(rows, per_class=3, seed=seed + 1) != chosen


def test_the_sheet_names_classes_with_their_counts_and_shows_the_chosen_images():
    rows = [index_row(f"a{i}", "a") for i in range(5)] + [index_row("b0", "b $x$")]
    images = np.stack([draw(i, 16) for i in range(6)])
    figure = draw_samples(images, rows, {"a": [3, 1], "b $x$": [5]}, "A <title> & $more$")
    assert {"A <title> & $more$", "a", "5 images", "b $x$", "1 image"} <= set(texts(figure))
    shown = [axes.get_images()[0].get_array() for axes in figure.axes]
    for number, picture in zip((3, 1, 5), shown, strict=True):
        np.testing.assert_array_equal(picture, images[number])
    assert {axes.get_images()[0].get_clim() for axes in figure.axes} == {(0, 255)}


@pytest.mark.parametrize(
    ("equalize", "blur_px", "last"),
    [
        ("histogram", 5, "Blurred, 5x5 px"),
        ("histogram", 0, "Histogram equalized"),
        ("clahe", 0, "Equalized (CLAHE)"),
        ("none", 3, "Blurred, 3x3 px"),
        ("none", 0, "Resized to 16 px"),
    ],
)
def test_the_last_step_is_what_training_sees(equalize, blur_px, last):
    settings = PreprocessSettings(size_px=16, equalize=equalize, blur_px=blur_px)
    steps = preprocessing_steps(draw(1, 40), settings)
    assert list(steps)[-1] == last
    np.testing.assert_array_equal(steps[last], preprocess_image(draw(1, 40), settings))


def test_examples_are_spread_over_the_classes():
    assert choose_examples({"a": [4, 5], "b": [7]}) == [4, 7]
    assert choose_examples({name: [number] for number, name in enumerate("abcdefg")}) == [0, 3, 6]


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("Viral Pneumonia", ["Viral ", "Pneumonia"]),
        ("train/person1933_bacteria", ["train/", "person1933_", "bacteria"]),
        ("x" * 25, ["x" * 12, "x" * 12, "x"]),
        ("short", ["short"]),
    ],
)
def test_long_names_are_broken_where_they_may(name, lines):
    assert break_name(name, 12) == lines
