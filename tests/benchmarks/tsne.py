"""The map of test features, on one core, against scikit-learn's t-SNE of the bare features, and openTSNE.

python -m tests.benchmarks.tsne --size quick
"""

from functools import partial
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, trustworthiness
from threadpoolctl import threadpool_limits

from cxrflow.results import embedding
from cxrflow.settings import EmbedSettings
from tests.benchmarks.measure import CPU_S, OURS, Goal, Row, compare, interleave, is_installed, require_equal, run_row

SIZES = {"full": (8000, 1280, 1), "quick": (1500, 1280, 1), "tiny": (120, 64, 1)}  # images, features, rounds
SKLEARN, OPENTSNE = "scikit-learn TSNE", "PCA to 50 + openTSNE (FFT)"
CLASSES = 7
LATENT = 30  # directions in which features of one class differ
TOLERANCE = 0.02  # of trustworthiness, which is 0.5 for a random map and 1 for a perfect one

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
    settings = EmbedSettings(max_images=max(10, len(features)))
    with patch.object(embedding, "trustworthiness", lambda *_, **__: 0.0):
        return embedding.embed_features(features, settings).points


def map_with_sklearn(features: Floats) -> Floats:
    return np.asarray(TSNE(perplexity=30, init="pca", random_state=0).fit_transform(features))


def map_with_opentsne(features: Floats) -> Floats:
    import openTSNE

    reduced = PCA(min(50, *features.shape), svd_solver="full").fit_transform(features)
    fitted = openTSNE.TSNE(perplexity=30, negative_gradient_method="fft", random_state=0, n_jobs=1).fit(reduced)
    return np.asarray(fitted, np.float32)


def measure_rows(size: str) -> list[Row]:
    """Return one row per peer."""
    count, width, rounds = SIZES[size]
    features = draw_features(count, width)
    sides = {OURS: partial(map_ours, features), SKLEARN: partial(map_with_sklearn, features)}
    if is_installed("openTSNE"):
        sides[OPENTSNE] = partial(map_with_opentsne, features)
    with threadpool_limits(1):
        timings = interleave(sides, rounds, warm_up=False)
        kept = {name: float(trustworthiness(features, points)) for name, points in timings.results.items()}
    require_equal("trustworthiness", max(0.0, kept[SKLEARN] - kept[OURS]), TOLERANCE)
    what = f"t-SNE of {count:,} x {width:,}"
    note = "one thread; trustworthiness " + ", ".join(f"{name} {value:.3f}" for name, value in kept.items())
    return [
        compare(what, CPU_S, timings.cpu_s, peer=SKLEARN, goal=Goal(3.5), note=note),
        compare(what, CPU_S, timings.cpu_s, peer=OPENTSNE),
    ]


if __name__ == "__main__":
    run_row(measure_rows)
