"""Copies are found whatever was done to them, phantoms are none of each other, and memory stays bounded."""

import contextlib

import cv2
import numpy as np
import pytest

from cxrflow.data import hashing
from cxrflow.data.copies import COPY, find_copies
from cxrflow.data.hashing import SIDE_PX, find_candidates, hash_views, measure_quality, shrink
from cxrflow.data.thumbnails import ThumbnailFile
from tests.data.planted import KINDS, draw_films

FEW = 12


def plant(films, kind):
    """Return thumbnails of the films and of their copies, the copies behind."""
    return [shrink(film) for film in films] + [shrink(KINDS[kind](film)) for film in films]


@pytest.fixture(scope="module")
def films():
    return draw_films(FEW, seed=0)


@pytest.mark.parametrize("kind", KINDS)
def test_planted_copies_are_found_and_nothing_else(films, kind):
    found = {(each.first, each.second): each for each in find_copies(plant(films, kind), threads=2) if each.is_copy}
    pairs = {tuple(sorted(pair)) for pair in found}
    assert pairs <= {(number, number + FEW) for number in range(FEW)}
    assert len(pairs) >= FEW - 1
    assert ("inverse" in next(iter(found.values())).view) == (kind == "inverse")


def test_a_film_without_structure_is_no_candidate():
    """The quality measure: the hash of a picture without structure is noise, and near many others."""
    ramp = np.tile(np.linspace(100, 110, SIDE_PX).astype(np.uint8), (SIDE_PX, 1))
    assert measure_quality(cv2.resize(ramp, (64, 64))) < hashing.MIN_QUALITY
    assert list(find_candidates([ramp, ramp])) == []


def test_one_film_many_times_gives_few_candidates_of_each(films, monkeypatch):
    monkeypatch.setattr(hashing, "NEAREST", 3)
    many = [shrink(films[0])] * 40
    assert 39 <= len(list(find_candidates(many))) <= 40 * 3 * len(hashing.list_views()) < 40 * 39


def test_blocks_change_nothing(films, monkeypatch):
    thumbnails = plant(films, "resized")
    whole = list(find_candidates(thumbnails))
    monkeypatch.setattr(hashing, "BLOCK", 5)
    assert list(find_candidates(thumbnails)) == whole
    assert COPY > 0.9


def test_hashes_are_signs_with_as_many_of_one_as_of_the_other(films):
    name, hashes = next(hash_views([shrink(film) for film in films]))
    assert name == "whole"
    assert set(np.unique(hashes)) == {-1 / 16, 1 / 16}
    assert (np.abs(hashes.sum(axis=1)) <= 2 / 16).all()


def test_thumbnails_are_written_in_the_order_of_the_index(tmp_path):
    pictures = {name: np.full((SIDE_PX, SIDE_PX), number, np.uint8) for number, name in enumerate("abc")}
    with contextlib.closing(ThumbnailFile(tmp_path)) as kept:
        for name in "abc":
            kept.keep(name, pictures[name])
        kept.write(tmp_path / "thumbnails.npy", ["c", "a"])
    assert np.load(tmp_path / "thumbnails.npy")[:, 0, 0].tolist() == [2, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["thumbnails.npy"]


@pytest.fixture(scope="module")
def many():
    return draw_films(200, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_of_200_planted_copies_of_each_kind_99_percent_are_found(many, kind):
    """The acceptance number: at least 198 of 200, and no two phantoms are taken for copies of each other."""
    found = [each for each in find_copies(plant(many, kind), threads=2) if each.is_copy]
    assert len({each.first % 200 for each in found if abs(each.first - each.second) == 200}) >= 198
    assert all(abs(each.first - each.second) == 200 for each in found)
