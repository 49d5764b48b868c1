"""The map of test features, on one core, against scikit-learn's t-SNE of the bare features.

python -m tests.benchmarks.tsne --size quick

The engine that is there to be fast, openTSNE, is measured at full size; the default engine, which is scikit-learn's own
t-SNE after PCA, at a smaller one: it takes as long as the peer, and the benchmark's time is short.
"""

from collections.abc import Mapping
from functools import partial
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from sklearn.manifold import TSNE, trustworthiness
from threadpoolctl import threadpool_limits

from cxrflow.config.settings import EmbedSettings
from cxrflow.results import embedding
from tests.benchmarks.measure import CPU_S, OURS, Goal, Row, compare, interleave, is_installed, require_equal, run_row

SIZES = {"full": (8000, 1280), "quick": (1500, 1280), "tiny": (120, 64)}  # images, features
DEFAULT_ENGINE_SIZES = {"full": (500, 1280), "quick": (300, 1280), "tiny": (120, 64)}
SKLEARN = "scikit-learn TSNE"
GOAL = Goal(3.5)
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


def map_ours(features: Floats, engine: str) -> Floats:
    """Return the stage's map, without the trustworthiness that it computes on top."""
    settings = EmbedSettings(engine=engine, max_images=max(10, len(features)))
    with patch.object(embedding, "measure_trustworthiness", lambda *_: None):
        return embedding.embed_features(features, settings).points


def map_with_sklearn(features: Floats) -> Floats:
    return np.asarray(TSNE(perplexity=30, init="pca", random_state=0).fit_transform(features))


def measure_engine(engine: str, count: int, width: int, goal: Goal | None) -> Row:
    """Return the row of one engine, timed once: a map takes long enough."""
    features = draw_features(count, width)
    sides = {OURS: partial(map_ours, features, engine), SKLEARN: partial(map_with_sklearn, features)}
    with threadpool_limits(1):
        timings = interleave(sides, 1, warm_up=False)
        kept = measure_trust(features, timings.results)
    require_equal("trustworthiness", max(0.0, kept[SKLEARN] - kept[OURS]), TOLERANCE)
    note = "one thread; trustworthiness " + ", ".join(f"{name} {value:.3f}" for name, value in kept.items())
    what = f"t-SNE of {count:,} x {width:,}, engine {engine}"
    return compare(what, CPU_S, timings.cpu_s, peer=SKLEARN, goal=goal, note=note)


def measure_trust(features: Floats, maps: Mapping[str, Floats]) -> dict[str, float]:
    return {name: float(trustworthiness(features, points)) for name, points in maps.items()}


def measure_rows(size: str) -> list[Row]:
    """Return one row per engine; openTSNE has no wheel for some machines."""
    rows = [measure_engine("opentsne", *SIZES[size], GOAL)] if is_installed("openTSNE") else []
    return [*rows, measure_engine(EmbedSettings().engine, *DEFAULT_ENGINE_SIZES[size], None)]


if __name__ == "__main__":
    run_row(measure_rows)
