"""The list of figures about all models: add one here and it is drawn, tested, and can be shown on the page.

The Snakefile reads this list while it plans, so matplotlib is imported only by the functions that draw.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cxrflow.compare.collect import Results


@dataclass(frozen=True)
class FigureEntry:
    """One figure about all models.

    Attributes:
        title: its heading.
        caption: what is seen, for a reader who has only the figure.
        alt: what it shows, for a reader who cannot see it.
        draw: writes it as PNG.
    """

    title: str
    caption: str
    alt: str
    draw: Callable[["Results", Path], None]


def _draw_curves(results: "Results", path: Path) -> None:
    from cxrflow.report.figure_curves import draw_curves

    draw_curves(results, path)


def _draw_f1(results: "Results", path: Path) -> None:
    from cxrflow.report.figure_scores import draw_f1

    draw_f1(results, path)


def _draw_efficiency(results: "Results", path: Path) -> None:
    from cxrflow.report.figure_efficiency import draw_efficiency

    draw_efficiency(results, path)


def _draw_confusion(results: "Results", path: Path) -> None:
    from cxrflow.report.figure_confusion import draw_confusion

    draw_confusion(results, path)


FIGURES = {
    "f1": FigureEntry(
        "Figure 1. Macro F1 of every model",
        "Macro F1 on the test images with its 95 % interval (bootstrap over test patients). Filled: from scratch; open:"
        " transferred; †: may have seen test images. The grey line is chance.",
        "Dot plot of macro F1 with 95 % intervals, one row per model, grouped by dataset; numbers as in Table 3.",
        _draw_f1,
    ),
    "confusion": FigureEntry(
        "Figure 2. Confusion matrices of every model",
        "Rows: true class; columns: predicted class; each row adds up to 100 %. Test images.",
        "Sheet of confusion matrices, one per model; the scores by class are in a table of their own.",
        _draw_confusion,
    ),
    "curves": FigureEntry(
        "Figure 3. Loss and macro F1 of every model, epoch by epoch",
        "Solid: validation; dashed: training (augmented images, in training mode). The dot is the epoch that is kept,"
        " the one with the lowest validation loss. Vertical lines: warm restarts of the learning rate. Variants are not"
        " shown.",
        "Line plots of loss and macro F1 against epoch, one column per dataset and one line per model.",
        _draw_curves,
    ),
    "efficiency": FigureEntry(
        "Figure 4. Macro F1 against cost",
        "Macro F1 with its 95 % interval against the latency of one image and the multiply-adds of the backbone; the"
        " line joins the models that no other beats on both (the Pareto front). Filled: from scratch; open:"
        " transferred.",
        "Scatter plots of macro F1 against latency and multiply-adds, one column per dataset; numbers as in Table 3.",
        _draw_efficiency,
    ),
}
