import io

import numpy as np
import pytest
from PIL import Image

from phantoms.render import BOX_FRAME_PX, draw_picture, encode_image, encode_task, mask_boxes
from phantoms.tasks import DEEP, DEEP_12, EMPTY, GRAY, HTML, KEPT, RGB, RGBA, TRUNCATED, ImageTask

TASK = ImageTask("xray8", "a/b.png", "Mass", KEPT, ("mass",), patient=3, number=4, width_px=160, height_px=128)
PIXELS = np.arange(128 * 160, dtype=np.uint32).reshape(128, 160).astype(np.uint8)


def retask(**changes: object) -> ImageTask:
    return ImageTask(**{**TASK.__dict__, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("form", "mode", "factor"),
    [(GRAY, "L", 1), (RGB, "RGB", 1), (RGBA, "RGBA", 1), (DEEP, "I;16", 257), (DEEP_12, "I;16", 16)],
)
def test_a_form_is_what_pillow_names_it_and_holds_the_pixels(form: str, mode: str, factor: int) -> None:
    image = Image.open(io.BytesIO(encode_image(PIXELS, retask(form=form))))
    assert image.mode == mode
    array = np.asarray(image).astype(np.int64)
    first = array[..., 0] if array.ndim == 3 else array
    np.testing.assert_array_equal(first, PIXELS.astype(np.int64) * factor)
    if mode == "RGBA":
        assert (array[..., 3] == 255).all()


def test_broken_forms_cannot_be_decoded() -> None:
    truncated = encode_image(PIXELS, retask(form=TRUNCATED, path="a/b.jpeg"))
    with pytest.raises(OSError, match="truncated"):
        Image.open(io.BytesIO(truncated)).load()
    assert encode_image(PIXELS, retask(form=EMPTY)) == b""
    assert encode_image(PIXELS, retask(form=HTML)).startswith(b"<!DOCTYPE html>")


def test_pixels_follow_from_seed_dataset_class_and_number() -> None:
    def pixels(seed: int = 0, **changes: object) -> bytes:
        return draw_picture(retask(**changes), seed).pixels.tobytes()

    assert pixels() == pixels() == pixels(path="c/copy.png")
    others = {pixels(seed=1), pixels(number=5), pixels(dataset="covid"), pixels(label="Nodule"), pixels(patient=9)}
    assert len({pixels(), *others}) == 6


def test_images_of_a_patient_are_more_alike_than_those_of_two() -> None:
    def pixels(patient: int, number: int) -> np.ndarray:
        task = retask(patient=patient, number=number, signs=(), label="No Finding")
        return draw_picture(task, 0).lungs.astype(float).ravel()

    same = np.mean([np.corrcoef(pixels(p, 1), pixels(p, 2))[0, 1] for p in range(6)])
    other = np.mean([np.corrcoef(pixels(p, 1), pixels(p + 10, 2))[0, 1] for p in range(6)])
    assert same > other


def test_boxes_are_tight_in_the_published_frame_and_leave_crumbs_out() -> None:
    mask = np.zeros((100, 200), bool)
    mask[10:30, 20:60] = True
    mask[50:60, 100:150] = True
    mask[90:91, 190:192] = True
    scale_x, scale_y = BOX_FRAME_PX / 200, BOX_FRAME_PX / 100
    expected = [
        (20 * scale_x, 10 * scale_y, 40 * scale_x, 20 * scale_y),
        (100 * scale_x, 50 * scale_y, 50 * scale_x, 10 * scale_y),
    ]
    assert mask_boxes(mask) == [pytest.approx(box) for box in expected]


def test_an_image_that_cannot_be_read_has_one_file_and_no_box() -> None:
    files, boxes = encode_task(retask(form=EMPTY), seed=0)
    assert files == {"xray8/a/b.png": b""}
    assert boxes == {}


def test_a_clearer_sign_changes_the_film_where_the_lesion_is() -> None:
    task = retask(signs=("mass",))
    plain, clear = (draw_picture(task, 0, contrast) for contrast in (1.0, 3.0))
    difference = np.abs(clear.pixels.astype(int) - plain.pixels.astype(int))
    inside = plain.lesions["mass"]
    assert np.array_equal(inside, clear.lesions["mass"])
    assert difference[inside].mean() > 3 * difference[~inside].mean()
