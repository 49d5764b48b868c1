"""t-SNE of features by both engines: what their maps keep, how far they agree, and the figure."""

import dataclasses
import platform
import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from cxrflow.config.settings import EmbedSettings
from cxrflow.errors import CxrflowError
from cxrflow.results import embedding
from cxrflow.results.embedding import (
    choose_rows,
    draw_embedding,
    embed_features,
    measure_trustworthiness,
)
from tests.benchmarks.tsne import draw_features

has_opentsne = pytest.mark.skipif(
    sys.platform == "linux" and platform.machine() != "x86_64", reason="openTSNE has no wheel for this machine"
)
each_engine = pytest.mark.parametrize("engine", ["sklearn", pytest.param("opentsne", marks=has_opentsne)])


def make_features(n: int = 90, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 features of three well separated classes, and the classes."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    return (10 * np.eye(3, 64)[labels] + generator.normal(size=(n, 64))).astype(np.float32), labels


@each_engine
def test_classes_apart_in_the_features_are_apart_on_the_map(engine: str) -> None:
    features, labels = make_features()
    settings = EmbedSettings(engine=engine, perplexity=10)
    embedding = embed_features(features, settings)
    assert embedding.points.dtype == np.float32
    assert embedding.engine == engine
    distance = np.linalg.norm(embedding.points[:, None] - embedding.points[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (labels[distance.argmin(axis=1)] == labels).all()
    assert embedding.trustworthiness is not None
    assert 0.7 < embedding.trustworthiness <= 1
    assert embedding.perplexity == 10  # there are enough images for it
    noise = embed_features(np.random.default_rng(0).normal(size=(90, 64)).astype(np.float32), settings)
    assert noise.trustworthiness is not None
    assert noise.trustworthiness < embedding.trustworthiness


@each_engine
def test_same_seed_same_map_whatever_number_of_cores(engine: str) -> None:
    features, _ = make_features()
    maps = []
    for cores in (2, 1, 2):
        with threadpool_limits(cores):
            maps.append(embed_features(features, EmbedSettings(engine=engine, perplexity=10, seed=3)).points)
    np.testing.assert_array_equal(maps[0], maps[1])
    np.testing.assert_array_equal(maps[0], maps[2])


@each_engine
@pytest.mark.parametrize("n", [4, 5, 11, 30])
def test_few_images_lower_the_perplexity(engine: str, n: int) -> None:
    embedding = embed_features(make_features(n)[0], EmbedSettings(engine=engine, perplexity=30))
    assert embedding.points.shape == (n, 2)
    assert np.isfinite(embedding.points).all()
    assert embedding.perplexity == pytest.approx((n - 1) / 3)
    assert (embedding.trustworthiness is None) == (n < 11)


def test_more_images_than_asked_for_are_drawn_by_seed() -> None:
    rows = choose_rows(1000, 50, seed=1)
    assert len(set(rows.tolist())) == 50
    assert (np.diff(rows) > 0).all()
    assert rows.tolist() == choose_rows(1000, 50, seed=1).tolist() != choose_rows(1000, 50, seed=2).tolist()
    assert choose_rows(5, 50, seed=1).tolist() == [0, 1, 2, 3, 4]


@each_engine
def test_equal_features_of_a_collapsed_network_lie_on_one_point(engine: str) -> None:
    embedding = embed_features(np.ones((20, 8), np.float32), EmbedSettings(engine=engine))
    assert not embedding.points.any()
    assert embedding.trustworthiness is None


@each_engine
def test_a_network_that_tells_only_two_groups_apart_has_a_map(engine: str) -> None:
    features = np.repeat(make_features(2)[0], 20, axis=0)
    points = embed_features(features, EmbedSettings(engine=engine)).points
    assert np.isfinite(points).all()
    assert points.any()


def test_features_of_a_diverged_training_give_no_map() -> None:
    with pytest.raises(CxrflowError, match="diverged"):
        embed_features(np.full((9, 8), np.nan, np.float32), EmbedSettings())


@pytest.mark.parametrize(("engine", "name"), [("sklearn", "scikit-learn"), ("opentsne", "openTSNE")])
def test_figure_names_its_engine_and_trustworthiness_and_marks_wrong_predictions(engine: str, name: str) -> None:
    features, labels = make_features()
    embedding = dataclasses.replace(embed_features(features, EmbedSettings(perplexity=10)), engine=engine)
    predicted = labels.copy()
    predicted[:7] = (labels[:7] + 1) % 3
    figure = draw_embedding(embedding, labels, predicted, ["COVID-19", "Normal", "Viral Pneumonia"], "title")
    (axes,) = figure.axes
    right, wrong = axes.collections
    assert (len(right.get_offsets()), len(wrong.get_offsets())) == (83, 7)
    assert right.get_paths()[0].vertices.shape != wrong.get_paths()[0].vertices.shape
    written = " ".join(text.get_text() for text in figure.texts)
    assert f"t-SNE ({name}) of" in written
    assert f"{embedding.trustworthiness:.3f}" in written
    assert not axes.get_xticks().size
    legends = [
        text.get_text() for child in axes.get_children() if hasattr(child, "legend_handles") for text in child.texts
    ]
    assert legends == ["COVID-19 (30)", "Normal (30)", "Viral Pneumonia (30)", "right (83)", "wrong (7)"]


def test_no_legend_is_cut_off() -> None:
    """The figure's own layout must leave room for the legends beside the map."""
    features, labels = make_features(30)
    figure = draw_embedding(
        embed_features(features, EmbedSettings()), labels, labels, ["a", "b", "a class of a very long name"], "title"
    )
    figure.draw_without_rendering()
    (axes,) = figure.axes
    for child in axes.get_children():
        if hasattr(child, "legend_handles"):
            box = child.get_window_extent()
            assert box.x0 >= 0
            assert box.x1 <= figure.bbox.x1 + 1


PERPLEXITY = 30.0
IMAGES = 300


@pytest.fixture(scope="module")
def features() -> NDArray[np.float32]:
    """Features like a network's, of classes that overlap: more images than features, then the covariance is used."""
    return draw_features(IMAGES, 200)


def measure_divergence(features: NDArray[np.float32], points: NDArray[np.float32]) -> float:
    """Return the Kullback-Leibler divergence of a map, nothing approximated but the 90 neighbours."""
    from openTSNE.affinity import PerplexityBasedNN

    reduced = PCA(embedding.PCA_DIMENSIONS, svd_solver="full").fit_transform(features)
    p = PerplexityBasedNN(reduced, PERPLEXITY, method="exact", n_jobs=1).P.toarray()
    distances = np.linalg.norm(points[:, None].astype(float) - points[None], axis=2)
    q = 1 / (1 + distances**2)
    np.fill_diagonal(q, 0)
    q /= q.sum()
    return float((p[p > 0] * np.log(p[p > 0] / q[p > 0])).sum())


@has_opentsne
def test_maps_of_both_engines_differ_and_are_equally_good(features: NDArray[np.float32]) -> None:
    maps = {name: compute(features, PERPLEXITY, 0) for name, compute in embedding.ENGINES.items()}
    trust = {name: measure_trustworthiness(features, points) for name, points in maps.items()}
    assert trust["opentsne"] == pytest.approx(trust["sklearn"], abs=0.005)
    divergence = {name: measure_divergence(features, points) for name, points in maps.items()}
    assert divergence["opentsne"] == pytest.approx(divergence["sklearn"], rel=0.02)
    assert not np.allclose(maps["opentsne"], maps["sklearn"], atol=1)


@has_opentsne
def test_interpolation_and_tree_lead_to_one_divergence(
    features: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the threshold chooses between them, whatever number of cores; a short descent shows it."""
    monkeypatch.setattr(embedding, "EXAGGERATED_ITERATIONS", 50)
    monkeypatch.setattr(embedding, "MOST_ITERATIONS", 50)
    maps = []
    for threshold in (IMAGES + 1, IMAGES, IMAGES):
        monkeypatch.setattr(embedding, "INTERPOLATE_FROM", threshold)
        with threadpool_limits(1 + len(maps) % 2):
            maps.append(embed_features(features, EmbedSettings(engine="opentsne", perplexity=PERPLEXITY)).points)
    tree, interpolated, again = maps
    np.testing.assert_array_equal(interpolated, again)
    assert not np.array_equal(tree, interpolated)
    divergence = measure_divergence(features, tree)
    assert measure_divergence(features, interpolated) == pytest.approx(divergence, rel=0.02)


@has_opentsne
def test_descent_ends_where_it_stands_still(features: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch) -> None:
    from openTSNE import TSNEEmbedding

    steps: list[int] = []
    optimize = TSNEEmbedding.optimize
    monkeypatch.setattr(TSNEEmbedding, "optimize", lambda self, n, **kw: (steps.append(n), optimize(self, n, **kw))[1])
    ended = {}
    for still in (1.0, embedding.STILL, -1.0):
        steps.clear()
        monkeypatch.setattr(embedding, "STILL", still)
        embedding.map_by_opentsne(features, PERPLEXITY, 0)
        assert steps.pop(0) == embedding.EXAGGERATED_ITERATIONS
        ended[still] = sum(steps)
    assert ended[1.0] == 2 * embedding.CHECK_EVERY  # the first fall is known after two checks
    assert ended[1.0] < ended[embedding.STILL] <= ended[-1.0] == embedding.MOST_ITERATIONS


def test_without_opentsne_the_message_says_what_to_do(
    features: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openTSNE", None)
    with pytest.raises(CxrflowError, match="run 'pip install opentsne', or set embed"):
        embedding.map_by_opentsne(features, PERPLEXITY, 0)
    assert embedding.map_by_sklearn(features[:30], 9.0, 0).shape == (30, 2)


def test_settings_know_every_engine() -> None:
    (engine,) = (field for field in dataclasses.fields(EmbedSettings) if field.name == "engine")
    assert set(embedding.ENGINES) == set(embedding.ENGINE_NAMES) == set(engine.metadata["choices"])
