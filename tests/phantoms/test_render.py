import dataclasses
import io

import cv2
import numpy as np
import pytest
from PIL import Image

from phantoms.film import expose, sample_film
from phantoms.render import BOX_FRAME_PX, Fate, Form, ImageTask, encode_image, encode_task, mask_boxes, synthesise_image

TASK = ImageTask("xray8", "a/b.png", "Mass", Fate.KEPT, ("mass",), patient=3, number=4, width_px=160, height_px=128)
PIXELS = np.arange(128 * 160, dtype=np.uint32).reshape(128, 160).astype(np.uint8)


def retask(**changes: object) -> ImageTask:
    return ImageTask(**{**TASK.__dict__, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("form", "mode", "factor"),
    [
        (Form.GRAY, "L", 1),
        (Form.RGB, "RGB", 1),
        (Form.RGBA, "RGBA", 1),
        (Form.DEEP, "I;16", 257),
        (Form.DEEP_12, "I;16", 16),
    ],
)
def test_a_form_is_what_pillow_names_it_and_holds_the_pixels(form: str, mode: str, factor: int) -> None:
    image = Image.open(io.BytesIO(encode_image(PIXELS, retask(form=Form(form)))))
    assert image.mode == mode
    array = np.asarray(image).astype(np.int64)
    first = array[..., 0] if array.ndim == 3 else array
    np.testing.assert_array_equal(first, PIXELS.astype(np.int64) * factor)
    if mode == "RGBA":
        assert (array[..., 3] == 255).all()


def test_pixels_follow_from_seed_dataset_class_and_number() -> None:
    def pixels(seed: int = 0, **changes: object) -> bytes:
        return synthesise_image(retask(**changes), seed).pixels.tobytes()

    assert pixels() == pixels() == pixels(path="c/copy.png")
    others = {pixels(seed=1), pixels(number=5), pixels(dataset="covid"), pixels(label="Nodule"), pixels(patient=9)}
    assert len({pixels(), *others}) == 6


def test_images_of_a_patient_are_more_alike_than_those_of_two() -> None:
    def pixels(patient: int, number: int) -> np.ndarray:
        task = retask(patient=patient, number=number, signs=(), label="No Finding")
        return synthesise_image(task, 0).lungs.astype(float).ravel()

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
    files, boxes = encode_task(retask(form=Form.EMPTY), seed=0)
    assert files == {"xray8/a/b.png": b""}
    assert boxes == {}


def test_a_clearer_sign_changes_the_film_where_the_lesion_is() -> None:
    task = retask(signs=("mass",))
    plain, clear = (synthesise_image(task, 0, contrast) for contrast in (1.0, 3.0))
    difference = np.abs(clear.pixels.astype(int) - plain.pixels.astype(int))
    inside = plain.lesions["mass"]
    assert np.array_equal(inside, clear.lesions["mass"])
    assert difference[inside].mean() > 3 * difference[~inside].mean()


RNG = np.random.default_rng(0)
DENSITY = np.clip(np.linspace(0, 1, 120, dtype=np.float32)[None, :] + RNG.normal(0, 0.1, (100, 120)), 0, 1.2).astype(
    np.float32
)
PLAIN = dataclasses.replace(sample_film(np.random.default_rng(0)), marker="", border=0.0)


@pytest.mark.parametrize(("mean", "deviation"), [(95, 45), (150, 60)])
def test_mean_and_contrast_end_at_the_films_and_not_at_the_densitys(mean: float, deviation: float) -> None:
    film = dataclasses.replace(PLAIN, mean=mean, deviation=deviation)
    for density in (DENSITY, DENSITY * np.float32(0.5) + np.float32(0.3)):
        pixels = expose(density, film)
        assert pixels.mean() == pytest.approx(mean, abs=5)
        assert pixels.std() == pytest.approx(deviation, abs=6)


def test_noise_grows_with_density_as_photons_get_fewer() -> None:
    flat = np.repeat(np.array([[0.2], [1.0]], np.float32), 100, axis=0).repeat(200, axis=1)
    pixels = expose(flat, dataclasses.replace(PLAIN, grain=5.0, vignette=0.0)).astype(float)
    assert pixels[120:180].std() > 1.3 * pixels[20:80].std()


def test_the_same_film_gives_the_same_pixels_and_another_others() -> None:
    film = sample_film(np.random.default_rng(5))
    np.testing.assert_array_equal(expose(DENSITY, film), expose(DENSITY, film))
    assert not np.array_equal(expose(DENSITY, film), expose(DENSITY, sample_film(np.random.default_rng(6))))


def test_exposures_differ_more_between_films_than_any_sign_does() -> None:
    films = [sample_film(np.random.default_rng(seed)) for seed in range(60)]
    assert np.std([film.mean for film in films]) > 15
    assert 15 < sum(bool(film.marker) for film in films) < 55


def test_a_marker_is_written_in_white() -> None:
    dim = cv2.resize(DENSITY, (480, 400)) * np.float32(0.2)
    marked, bare = (
        expose(dim, dataclasses.replace(PLAIN, marker=marker, marker_at=(0.1, 0.3))) for marker in ("R", "")
    )
    assert 20 < (marked != bare).sum() < 0.02 * bare.size
    assert marked[marked != bare].max() >= 240
