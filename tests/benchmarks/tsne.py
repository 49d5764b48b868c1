"""The map of test features by the engine that is there to be fast, on one core, against scikit-learn's t-SNE."""

from functools import partial
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from sklearn.manifold import TSNE, trustworthiness
from threadpoolctl import threadpool_limits

from cxrflow.config.settings import EmbedSettings
from cxrflow.results import embedding
from tests.benchmarks.measure import CPU_S, OURS, Goal, Row, compare, interleave, is_installed, require_equal, skip

SIZES = {"full": (8000, 1280), "quick": (1500, 1280), "tiny": (120, 64)}  # images, features
SKLEARN, ENGINE = "scikit-learn TSNE", "opentsne"
CLASSES = 7
LATENT = 30  # directions in which features of one class differ
TOLERANCE = 0.005  # of trustworthiness, which is 0.5 for a random map and 1 for a perfect one

Floats = NDArray[np.float32]


def draw_features(count: int, width: int) -> Floats:
    """Draw features like a network's: overlapping classes in few directions, cut off at zero."""
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 1.5, (CLASSES, LATENT))
    latent = centres[np.arange(count) % CLASSES] + rng.normal(0, 1, (count, LATENT))
    spread = latent @ rng.normal(0, 1 / np.sqrt(LATENT), (LATENT, width)) + rng.normal(0, 0.3, (count, width))
    return np.maximum(spread, 0).astype(np.float32)


def map_ours(features: Floats) -> Floats:
    """Return the stage's map, without the trustworthiness that it computes on top."""
    settings = EmbedSettings(engine=ENGINE, max_images=max(10, len(features)))
    with patch.object(embedding, "measure_trustworthiness", lambda *_: None):
        return embedding.embed_features(features, settings).points


def map_with_sklearn(features: Floats) -> Floats:
    return np.asarray(TSNE(perplexity=30, init="pca", random_state=0).fit_transform(features))


def measure_rows(size: str) -> list[Row]:
    """Return the row, timed once: a map takes long enough. openTSNE has no wheel for some machines."""
    count, width = SIZES[size]
    what = f"t-SNE of {count:,} x {width:,}, engine {ENGINE}"
    if not is_installed("openTSNE"):
        return [skip(what, "this machine has no openTSNE", "3.5x")]
    features = draw_features(count, width)
    with threadpool_limits(1):
        sides = {OURS: partial(map_ours, features), SKLEARN: partial(map_with_sklearn, features)}
        timings = interleave(sides, 1, warm_up=False)
        kept = {name: float(trustworthiness(features, points)) for name, points in timings.results.items()}
    require_equal("trustworthiness", max(0.0, kept[SKLEARN] - kept[OURS]), TOLERANCE)
    note = "one thread; trustworthiness " + ", ".join(f"{name} {value:.3f}" for name, value in kept.items())
    return [compare(what, CPU_S, timings.cpu_s, peer=SKLEARN, goal=Goal(3.5), note=note)]
