"""t-SNE of the features that enter the head: how far the network has pulled the classes apart.

Read it for neighbourhoods only: distances between clusters and their sizes mean nothing in t-SNE (Wattenberg, Viegas &
Johnson 2016, How to Use t-SNE Effectively, Distill). The trustworthiness says how far the neighbourhoods hold.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.manifold import trustworthiness
from threadpoolctl import threadpool_limits

from cxrflow.config.settings import EmbedSettings
from cxrflow.errors import CxrflowError
from cxrflow.results.tsne import ENGINES

NEIGHBOURS = 5  # scikit-learn's default for trustworthiness
MINIMUM_IMAGES = 4


@dataclass(frozen=True)
class Embedding:
    """A map of test images.

    Attributes:
        rows: int64 (n,), which rows of the features are shown, ascending.
        points: float32 (n, 2).
        perplexity: the one used.
        trustworthiness: 0 to 1 (Venna & Kaski 2001): 1 when the neighbours on the map are neighbours in the features;
            None with fewer than 11 images, where it is not defined for 5 neighbours, or when all features are equal.
        engine: what computed it, a name in tsne.ENGINES.
    """

    rows: NDArray[np.int64]
    points: NDArray[np.float32]
    perplexity: float
    trustworthiness: float | None
    engine: str


def embed_features(features: NDArray[np.float32], settings: EmbedSettings) -> Embedding:
    """Map features to two dimensions: at most `max_images` rows drawn by seed, PCA to 50 dimensions, t-SNE.

    The features are not standardised: they are outputs of one layer on one scale, and dividing by their spread would
    give units that hardly ever fire the weight of those that tell classes apart. The same engine
    and seed give the same map on one machine, however many cores it has.

    features: float32 (n, d).

    Raises:
        CxrflowError: fewer than 4 images, values that are not finite, or an engine that is not installed.
    """
    _check_features(features)
    rows = choose_rows(len(features), settings.max_images, settings.seed)
    chosen = features[rows].astype(np.float32)
    perplexity = lower_perplexity(settings.perplexity, len(rows))
    if not np.ptp(chosen, axis=0).any():  # a network that has collapsed: t-SNE would divide by zero
        return Embedding(rows, np.zeros((len(rows), 2), np.float32), perplexity, None, settings.engine)
    with threadpool_limits(1):  # maps of one and two threads differ; threads that wait for a core spin: 5 times slower
        points = ENGINES[settings.engine](chosen, perplexity, settings.seed)
        kept = measure_trustworthiness(chosen, points)
    return Embedding(rows, points, perplexity, kept, settings.engine)


def measure_trustworthiness(features: NDArray[np.float32], points: NDArray[np.float32]) -> float | None:
    """Return the trustworthiness of points, float32 (n, 2), or None where it is not defined."""
    if len(points) <= 2 * NEIGHBOURS:
        return None
    return float(trustworthiness(features, points, n_neighbors=NEIGHBOURS))


def _check_features(features: NDArray[np.float32]) -> None:
    if len(features) < MINIMUM_IMAGES:
        raise CxrflowError(
            f"t-SNE needs at least {MINIMUM_IMAGES} test images, and there are {len(features)}:"
            " use more images or a larger split.test"
        )
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        raise CxrflowError(
            f"the features of {len(bad)} test images hold NaN or infinity, first in row {bad[0]} (counted from 0):"
            " the training has diverged; lower train.learning_rate and train again"
        )


def choose_rows(n: int, at_most: int, seed: int) -> NDArray[np.int64]:
    """Return int64 row numbers, ascending: all `n`, or `at_most` of them drawn without replacement."""
    if n <= at_most:
        return np.arange(n, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).choice(n, at_most, replace=False)).astype(np.int64)


def lower_perplexity(perplexity: float, n: int) -> float:
    """Return the perplexity, at most (n - 1) / 3: t-SNE looks at 3 x perplexity neighbours, and there are n - 1."""
    return min(perplexity, (n - 1) / 3)
