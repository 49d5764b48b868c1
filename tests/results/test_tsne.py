"""The two engines of t-SNE: how far their maps agree, and what openTSNE's does on the way."""

import dataclasses
import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from cxrflow.config.settings import EmbedSettings
from cxrflow.errors import CxrflowError
from cxrflow.results import embedding as tsne
from cxrflow.results.embedding import embed_features, measure_trustworthiness
from tests.benchmarks.tsne import draw_features
from tests.results.engines import has_opentsne

PERPLEXITY = 30.0
IMAGES = 300


@pytest.fixture(scope="module")
def features() -> NDArray[np.float32]:
    """Features like a network's, of classes that overlap: more images than features, then the covariance is used."""
    return draw_features(IMAGES, 200)


def measure_divergence(features: NDArray[np.float32], points: NDArray[np.float32]) -> float:
    """Return the Kullback-Leibler divergence of a map, nothing approximated but the 90 neighbours."""
    from openTSNE.affinity import PerplexityBasedNN

    reduced = PCA(tsne.PCA_DIMENSIONS, svd_solver="full").fit_transform(features)
    p = PerplexityBasedNN(reduced, PERPLEXITY, method="exact", n_jobs=1).P.toarray()
    distances = np.linalg.norm(points[:, None].astype(float) - points[None], axis=2)
    q = 1 / (1 + distances**2)
    np.fill_diagonal(q, 0)
    q /= q.sum()
    return float((p[p > 0] * np.log(p[p > 0] / q[p > 0])).sum())


@has_opentsne
def test_maps_of_both_engines_differ_and_are_equally_good(features: NDArray[np.float32]) -> None:
    maps = {name: compute(features, PERPLEXITY, 0) for name, compute in tsne.ENGINES.items()}
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
    monkeypatch.setattr(tsne, "EXAGGERATED_ITERATIONS", 50)
    monkeypatch.setattr(tsne, "MOST_ITERATIONS", 50)
    maps = []
    for threshold in (IMAGES + 1, IMAGES, IMAGES):
        monkeypatch.setattr(tsne, "INTERPOLATE_FROM", threshold)
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
    for still in (1.0, tsne.STILL, -1.0):
        steps.clear()
        monkeypatch.setattr(tsne, "STILL", still)
        tsne.map_by_opentsne(features, PERPLEXITY, 0)
        assert steps.pop(0) == tsne.EXAGGERATED_ITERATIONS
        ended[still] = sum(steps)
    assert ended[1.0] == 2 * tsne.CHECK_EVERY  # the first fall is known after two checks
    assert ended[1.0] < ended[tsne.STILL] <= ended[-1.0] == tsne.MOST_ITERATIONS


def test_without_opentsne_the_message_says_what_to_do(
    features: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openTSNE", None)
    with pytest.raises(CxrflowError, match="run 'pip install opentsne', or set embed"):
        tsne.map_by_opentsne(features, PERPLEXITY, 0)
    assert tsne.map_by_sklearn(features[:30], 9.0, 0).shape == (30, 2)


def test_settings_know_every_engine() -> None:
    (engine,) = (field for field in dataclasses.fields(EmbedSettings) if field.name == "engine")
    assert set(tsne.ENGINES) == set(tsne.ENGINE_NAMES) == set(engine.metadata["choices"])
