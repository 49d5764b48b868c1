import dataclasses

import cv2
import numpy as np
import pytest

from phantoms.film import draw_film, expose

RNG = np.random.default_rng(0)
DENSITY = np.clip(np.linspace(0, 1, 120, dtype=np.float32)[None, :] + RNG.normal(0, 0.1, (100, 120)), 0, 1.2).astype(
    np.float32
)
PLAIN = dataclasses.replace(draw_film(np.random.default_rng(0)), marker="", border=0.0)


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
    film = draw_film(np.random.default_rng(5))
    np.testing.assert_array_equal(expose(DENSITY, film), expose(DENSITY, film))
    assert not np.array_equal(expose(DENSITY, film), expose(DENSITY, draw_film(np.random.default_rng(6))))


def test_exposures_differ_more_between_films_than_any_sign_does() -> None:
    films = [draw_film(np.random.default_rng(seed)) for seed in range(60)]
    assert np.std([film.mean for film in films]) > 15
    assert 15 < sum(bool(film.marker) for film in films) < 55


def test_a_marker_is_written_in_white() -> None:
    dim = cv2.resize(DENSITY, (480, 400)) * np.float32(0.2)
    marked, bare = (
        expose(dim, dataclasses.replace(PLAIN, marker=marker, marker_at=(0.1, 0.3))) for marker in ("R", "")
    )
    assert 20 < (marked != bare).sum() < 0.02 * bare.size
    assert marked[marked != bare].max() >= 240
