"""t-SNE of the features that enter the head: how far the network has pulled the classes apart.

Read it for neighbourhoods only: distances between clusters and their sizes mean nothing in t-SNE (Wattenberg, Viegas &
Johnson 2016, How to Use t-SNE Effectively, Distill). The trustworthiness says how far the neighbourhoods hold.

`embed.engine` chooses between two engines; both begin with PCA to 50 dimensions. `sklearn` is `sklearn.manifold.TSNE`
as its documentation calls it. `opentsne` is the package openTSNE (Policar, Strazar & Zupan 2024, Journal of Statistical
Software 109(3)) with its own defaults but for three things: exact neighbours, which at 8,000 images take a fifth of the
time of the approximate search; interpolation (Linderman et al. 2019, Nature Methods 16:243) where it is cheaper than
Barnes & Hut's tree; and a descent that ends where it stands still (Belkina et al. 2019, Nature Communications 10:5415).

The maps of the two engines differ in what t-SNE leaves open, such as where the groups lie; tests hold their
trustworthiness within 0.005 and their Kullback-Leibler divergence within 2 % of each other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, trustworthiness
from threadpoolctl import threadpool_limits

from cxrflow.config.settings import EmbedSettings
from cxrflow.errors import CxrflowError
from cxrflow.files.figures import INK, MUTED, RULE, add_title, class_color, new_figure

NEIGHBOURS = 5  # scikit-learn's default for trustworthiness
MINIMUM_IMAGES = 4  # of which t-SNE can make a map
PCA_DIMENSIONS = 50  # before t-SNE: suppresses noise and is what scikit-learn's documentation of TSNE recommends

EXAGGERATED_ITERATIONS, EXAGGERATION = 250, 12  # of both packages
MOST_ITERATIONS = 500  # after those: the default of openTSNE
CHECK_EVERY = 50  # iterations; openTSNE, too, looks at the divergence that often
# Of the divergence, per iteration: a smaller fall is standing still. Belkina et al. use 1/5,000; half of that takes a
# third more iterations and leaves a divergence within about 1 % of scikit-learn's.
STILL = 1 / 10_000
INTERPOLATE_FROM = 2_000  # images: with fewer, the grid of the interpolation costs more than Barnes & Hut's tree

Points = NDArray[np.float32]  # (n, 2) on a map, or features (n, d)


@dataclass(frozen=True)
class Embedding:
    """A map of test images, empty where there are fewer than 4.

    Its trustworthiness, 0 to 1 (Venna & Kaski 2001), is 1 when neighbours on the map are neighbours in the features,
    and None with fewer than 11 images, where it is not defined for 5 neighbours, or when all features are equal.
    """

    rows: NDArray[np.int64]  # (n,), which rows of the features are shown, ascending
    points: Points
    perplexity: float  # the one used
    trustworthiness: float | None
    engine: str  # what computed it, a key of ENGINES


def embed_features(features: Points, settings: EmbedSettings) -> Embedding:
    """Map features to two dimensions: at most `max_images` rows sampled by seed, PCA to 50 dimensions, t-SNE.

    The features are not standardised: they are outputs of one layer on one scale, and dividing by their spread would
    give units that hardly ever fire the weight of those that separate classes. The same engine and seed give the same
    map on one machine, however many cores it has.

    Raises:
        CxrflowError: values that are not finite, or an engine that is not installed.
    """
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        raise CxrflowError(
            f"the features of {len(bad)} test images hold NaN or infinity, first in row {bad[0]} (counted from 0):"
            " the training has diverged; lower train.learning_rate and train again"
        )
    rows = choose_rows(len(features), settings.max_images, settings.seed)
    chosen = features[rows].astype(np.float32)
    perplexity = min(settings.perplexity, (len(rows) - 1) / 3)  # t-SNE looks at 3 x as many neighbours
    if len(rows) < MINIMUM_IMAGES:
        return Embedding(rows[:0], np.zeros((0, 2), np.float32), perplexity, None, settings.engine)
    if not np.ptp(chosen, axis=0).any():  # a network that has collapsed: t-SNE would divide by zero
        return Embedding(rows, np.zeros((len(rows), 2), np.float32), perplexity, None, settings.engine)
    with threadpool_limits(1):  # maps of one and two threads differ; threads that wait for a core spin: 5 times slower
        points = ENGINES[settings.engine](chosen, perplexity, settings.seed)
        kept = measure_trustworthiness(chosen, points)
    return Embedding(rows, points, perplexity, kept, settings.engine)


def measure_trustworthiness(features: Points, points: Points) -> float | None:
    """Return the trustworthiness of points, float32 (n, 2), or None where it is not defined."""
    if len(points) <= 2 * NEIGHBOURS:
        return None
    return float(trustworthiness(features, points, n_neighbors=NEIGHBOURS))


def choose_rows(n: int, at_most: int, seed: int) -> NDArray[np.int64]:
    """Return int64 row numbers, ascending: all `n`, or `at_most` of them sampled without replacement."""
    if n <= at_most:
        return np.arange(n, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).choice(n, at_most, replace=False)).astype(np.int64)


def map_by_sklearn(features: Points, perplexity: float, seed: int) -> Points:
    """Return float32 (n, 2) of features float32 (n, d), by scikit-learn."""
    reduced = _reduce_dimensions(features, "full")
    points = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(reduced)
    return np.asarray(points, np.float32)


def map_by_opentsne(features: Points, perplexity: float, seed: int) -> Points:
    """Return float32 (n, 2) of features float32 (n, d), by openTSNE on one core.

    Raises:
        CxrflowError: openTSNE is not installed.
    """
    try:
        from openTSNE import TSNE  # here: a study that does not use it runs where it is not installed
    except ImportError as error:
        raise CxrflowError(
            f"embed.engine is opentsne, and the package openTSNE cannot be imported ({error}):"
            " run 'pip install opentsne', or set embed.engine to sklearn"
        ) from error
    n, width = features.shape
    # Where there are more images than features, the covariance gives the same components in a quarter of the time.
    reduced = _reduce_dimensions(features, "covariance_eigh" if n > width else "full")
    method = "fft" if n >= INTERPOLATE_FROM else "bh"
    embedding = TSNE(  # one job, because sums over threads depend on their number
        perplexity=perplexity, neighbors="exact", negative_gradient_method=method, n_jobs=1, random_state=seed
    ).prepare_initial(reduced)
    embedding.optimize(EXAGGERATED_ITERATIONS, exaggeration=EXAGGERATION, inplace=True)
    before = np.inf
    for _ in range(MOST_ITERATIONS // CHECK_EVERY):
        embedding.optimize(CHECK_EVERY, inplace=True)
        if before - embedding.kl_divergence < CHECK_EVERY * STILL * embedding.kl_divergence:
            break
        before = embedding.kl_divergence
    return np.asarray(embedding, np.float32)


def _reduce_dimensions(features: Points, solver: str) -> Points:
    reduction = PCA(min(PCA_DIMENSIONS, *features.shape), svd_solver=solver, random_state=0)
    return np.asarray(reduction.fit_transform(features), np.float32)


ENGINES: dict[str, Callable[[Points, float, int], Points]] = {"sklearn": map_by_sklearn, "opentsne": map_by_opentsne}
ENGINE_NAMES = {"sklearn": "scikit-learn", "opentsne": "openTSNE"}


def draw_embedding(
    embedding: Embedding,
    labels: NDArray[np.int64],
    predicted: NDArray[np.int64],
    class_names: Sequence[str],
    title: str,
) -> Figure:
    """Draw the map: colour is the true class, a cross is an image that was predicted wrong.

    labels, predicted: int64 (n,), of the shown images.
    """
    figure = new_figure(6.4, 4.7)
    add_title(figure, title, describe_embedding(embedding))
    axes = figure.subplots()
    right = labels == predicted
    size = float(np.clip(6000 / max(1, len(labels)), 5, 26))  # points^2: fewer images, larger marks
    colors = np.array([class_color(label) for label in range(len(class_names))])[labels]
    # One call for all classes, in a seeded order: drawn class by class, the last class would hide the others.
    order = np.random.default_rng(0).permutation(len(labels))
    x, y = embedding.points.T
    shown = order[right[order]]
    axes.scatter(x[shown], y[shown], s=size, c=colors[shown], alpha=0.75, linewidths=0)
    shown = order[~right[order]]
    axes.scatter(x[shown], y[shown], s=1.7 * size, c=colors[shown], marker="x", linewidths=1.0)
    axes.set(xticks=[], yticks=[])
    axes.set_aspect("equal", adjustable="datalim")
    axes.spines[:].set(visible=True, color=RULE)
    _add_legends(axes, labels, right, class_names)
    return figure


def describe_embedding(embedding: Embedding) -> str:
    """Return two lines: what the map shows and how far it can be trusted, or one line: why there is none."""
    if not len(embedding.rows):
        return f"No map: t-SNE needs at least {MINIMUM_IMAGES} test images; use more images or a larger split.test"
    kept = embedding.trustworthiness
    trust = "undefined" if kept is None else f"{kept:.3f}"
    if not embedding.points.any():
        trust = "undefined, because all features are equal"
    return (
        f"t-SNE ({ENGINE_NAMES[embedding.engine]}) of the features of {len(embedding.rows):,} test images,"
        f" perplexity {embedding.perplexity:.3g}\n"
        f"Trustworthiness ({NEIGHBOURS} neighbours) {trust}"
    )


def _add_legends(axes: Axes, labels: NDArray[np.int64], right: NDArray[np.bool_], class_names: Sequence[str]) -> None:
    counts = np.bincount(labels, minlength=len(class_names))
    dot: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 5.5, "markeredgewidth": 0}
    classes = [
        Line2D([], [], color=class_color(k), label=f"{name} ({counts[k]:,})", **dot)
        for k, name in enumerate(class_names)
    ]
    marks = [
        Line2D([], [], color=MUTED, label=f"right ({right.sum():,})", **dot),
        Line2D([], [], color=MUTED, label=f"wrong ({(~right).sum():,})", linestyle="", marker="x", markersize=5.5),
    ]
    upper = axes.legend(handles=classes, title="True class", loc="upper left", bbox_to_anchor=(1.02, 1.0))
    lower = axes.legend(handles=marks, title="Prediction", loc="lower left", bbox_to_anchor=(1.02, 0.0))
    axes.add_artist(upper)  # axes.legend keeps only the last one
    upper.set_clip_on(False)  # a clipped artist gets no room from the layout
    for legend in (upper, lower):
        legend.set_alignment("left")
        legend.get_title().set(weight="bold", size=8, color=INK)
