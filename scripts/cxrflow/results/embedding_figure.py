"""The figure of a t-SNE map."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from cxrflow.files.figures import INK, MUTED, RULE, add_title, class_color, new_figure
from cxrflow.results.embedding import NEIGHBOURS, Embedding
from cxrflow.results.tsne import ENGINE_NAMES


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
    add_title(figure, title, _subtitle(embedding))
    axes = figure.subplots()
    right = labels == predicted
    size = float(np.clip(6000 / len(labels), 5, 26))  # points^2: fewer images, larger marks
    colors = np.array([class_color(label) for label in range(len(class_names))])[labels]
    # One call for all classes, in a seeded order: drawn class by class, the last class would hide the others.
    order = np.random.default_rng(0).permutation(len(labels))
    x, y = embedding.points.T
    shown = order[right[order]]
    axes.scatter(x[shown], y[shown], s=size, c=colors[shown], alpha=0.75, linewidths=0)
    shown = order[~right[order]]
    axes.scatter(x[shown], y[shown], s=1.7 * size, c=colors[shown], marker="x", linewidths=1.0)
    _frame(axes)
    _add_legends(axes, labels, right, class_names)
    return figure


def _subtitle(embedding: Embedding) -> str:
    kept = embedding.trustworthiness
    trust = "undefined" if kept is None else f"{kept:.3f}"
    if not embedding.points.any():
        trust = "undefined, because all features are equal"
    return (
        f"t-SNE ({ENGINE_NAMES[embedding.engine]}) of the features of {len(embedding.rows):,} test images,"
        f" perplexity {embedding.perplexity:.3g}\n"
        f"Trustworthiness ({NEIGHBOURS} neighbours) {trust}"
    )


def _frame(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal", adjustable="datalim")
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color(RULE)


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
