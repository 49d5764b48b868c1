"""The gallery of explanations."""

import numpy as np
import pytest

from cxrflow.files.records import Predictions
from cxrflow.results.gallery import (
    EMPTY,
    THUMB_IN,
    TILE_IN,
    ClassRow,
    Tile,
    blend_heat,
    choose_images,
    draw_gallery,
    write_caption,
)
from cxrflow.results.gradcam import MapLayer

LAYER = MapLayer("layer1", (12, 12), "LayerCAM")
NAMES = ["Atelectasis", "No Finding", "Pneumothorax"]


def make_predictions(labels: list[int], predicted: list[int]) -> Predictions:
    n = len(labels)
    probabilities = np.full((n, 3), 0.1)
    probabilities[np.arange(n), predicted] = 0.8
    return Predictions([f"i{k}" for k in range(n)], [f"p{k}" for k in range(n)], np.array(labels), probabilities, NAMES)


def make_tile(caption: str = "Atelectasis 80 %", heat: float = 1.0, kinds: tuple[str, ...] = ()) -> Tile:
    image = np.random.default_rng(0).integers(0, 256, (24, 24), dtype=np.uint8)
    spot = np.zeros((24, 24), np.float32)
    spot[8:16, 8:16] = heat
    region = np.zeros((24, 24), np.float32)
    region[4:12, 4:12] = 1
    return Tile(image, spot, caption, dict.fromkeys(kinds, region))


def test_right_and_wrong_images_of_every_class_are_drawn() -> None:
    predictions = make_predictions([0] * 6 + [1] * 4, [0, 0, 0, 0, 1, 2, 1, 1, 1, 1])
    chosen = choose_images(predictions, per_class=2, seed=0)
    assert list(chosen) == NAMES
    right, wrong = chosen["Atelectasis"]
    assert set(right) < {0, 1, 2, 3}
    assert len(right) == 2
    assert wrong == [4, 5]
    assert (len(chosen["No Finding"][0]), chosen["No Finding"][1]) == (2, [])
    assert chosen["Pneumothorax"] == ([], [])


def test_the_draw_follows_the_seed() -> None:
    predictions = make_predictions([0] * 60, [0] * 60)
    first, again, other = (choose_images(predictions, 5, seed)["Atelectasis"][0] for seed in (0, 0, 1))
    assert first == again != other


def test_captions_name_the_prediction_and_for_a_wrong_one_the_truth() -> None:
    predictions = make_predictions([0, 0], [0, 2])
    assert write_caption(predictions, 0) == "Atelectasis 80 %"
    assert write_caption(predictions, 1) == "Atelectasis \u2192 Pneumothorax 80 %"


def test_every_tile_is_a_picture_and_its_overlay_and_empty_blocks_say_none() -> None:
    rows = [ClassRow("Atelectasis", [make_tile(), make_tile()], [], 9, 0), ClassRow("Mass", [], [make_tile()], 0, 4)]
    figure = draw_gallery(rows, "title", LAYER, per_class=3)
    assert sum(bool(axes.images) for axes in figure.axes) == 6
    inside = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert inside.count("none") == 2
    written = [text.get_text() for text in figure.texts]
    assert {"Atelectasis", "Mass", "9 of 9", "0 of 9", "4 of 4"} <= set(written)
    assert EMPTY not in inside


def test_the_title_says_of_which_class_layer_and_grid_the_maps_are() -> None:
    figure = draw_gallery([ClassRow("Mass", [make_tile()], [], 1, 0)], "title", LAYER, per_class=3)
    said = " ".join(text.get_text() for text in figure.texts)
    assert "LayerCAM at layer1, 12x12 cells" in said
    assert "of the predicted class" in said


def test_an_empty_map_is_marked_as_such() -> None:
    figure = draw_gallery([ClassRow("Mass", [make_tile(heat=0.0)], [], 1, 0)], "title", LAYER, per_class=1)
    assert [text.get_text() for axes in figure.axes for text in axes.texts] == [EMPTY, "none"]


def test_annotated_regions_are_outlined_on_both_pictures_and_named_below() -> None:
    rows = [ClassRow("Mass", [make_tile(kinds=("lesion", "lungs")), make_tile(kinds=("lungs",))], [make_tile()], 2, 1)]
    figure = draw_gallery(rows, "title", LAYER, per_class=2)
    assert [len(axes.collections) for axes in figure.axes if axes.images] == [2, 2, 1, 1, 0, 0]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.texts] == ["lesion", "lungs"]
    assert not draw_gallery([ClassRow("Mass", [make_tile()], [], 1, 0)], "title", LAYER, per_class=1).legends


@pytest.mark.parametrize("per_class", [1, 4])
def test_pictures_are_square_and_neither_overlap_nor_leave_the_page(per_class: int) -> None:
    row = ClassRow("Mass", [make_tile()] * per_class, [make_tile()] * per_class, 9, 9)
    figure = draw_gallery([row, row], "title", LAYER, per_class)
    width_in, height_in = figure.get_size_inches()
    pictures = [axes.get_position() for axes in figure.axes if axes.images]
    assert len(pictures) == 2 * 2 * 2 * per_class
    for picture in pictures:
        assert picture.width * width_in == pytest.approx(THUMB_IN)
        assert picture.height * height_in == pytest.approx(THUMB_IN)
        assert -1e-9 <= picture.x0 < picture.x1 <= 1 + 1e-9
        assert 0 <= picture.y0 < picture.y1 <= 1
    for number, one in enumerate(pictures):
        assert not any(one.overlaps(other) for other in pictures[number + 1 :])


def test_captions_are_no_wider_than_their_tile() -> None:
    caption = "Pneumothorax \u2192 Infiltration 100 %"
    figure = draw_gallery([ClassRow("Mass", [make_tile(caption)] * 2, [], 2, 0)], "title", LAYER, per_class=2)
    renderer = figure.canvas.get_renderer() if hasattr(figure.canvas, "get_renderer") else None
    figure.draw_without_rendering()
    boxes = [text.get_window_extent(renderer) for text in figure.texts if text.get_text() == caption]
    assert len(boxes) == 2
    assert all(box.width <= TILE_IN * figure.dpi for box in boxes)


def test_no_heat_shows_the_image_alone_and_heat_colours_it() -> None:
    tile = make_tile()
    blended = blend_heat(tile.image, tile.heat)
    assert ((blended >= 0) & (blended <= 1)).all()
    gray = np.repeat(tile.image[..., None] / 255, 3, axis=2)
    np.testing.assert_allclose(blended[tile.heat == 0], gray[tile.heat == 0])
    assert (np.ptp(blended[tile.heat == 1], axis=1) > 0.1).all()
    np.testing.assert_allclose(blend_heat(tile.image, 0 * tile.heat), gray)
    np.testing.assert_allclose(blend_heat(tile.image, 0.3 * tile.heat), blended)
