"""The confusion matrices of all base models on one sheet, a row of matrices per dataset. Writes one PNG."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cxrflow.compare.collect import ModelResult, Results
from cxrflow.config.backbones import BACKBONES
from cxrflow.files.figures import INK, MUTED, SEQUENTIAL, new_figure, save_figure

# Inches. Everything is placed by hand, so that all matrices have one size, whatever their class names are.
CELL_IN = 0.26  # least side of a cell: room for a number of three digits
MATRIX_IN = 1.5  # least side of a matrix
GAP_IN = 0.3  # between matrices
TITLE_IN = 0.62  # above a row: the dataset, then each model on two lines
LETTER_IN = 0.062  # width of a letter of a class name
MOST_IN_LINE = 4  # more would be too small to read
DARK = 0.55  # above this share the number is written in white


def draw_confusion(results: Results, path: Path) -> None:
    """Draw each base model's matrix, rows scaled to 100 %."""
    lines = [
        line for name in results.datasets for line in break_line(results.select(results.base_models, dataset=name))
    ]
    side = max([MATRIX_IN, *(CELL_IN * len(class_names(line)) for line in lines)])
    left = max(name_length(line) for line in lines) + 0.3
    heights = [TITLE_IN + side + 0.75 * name_length(line) + 0.25 for line in lines]
    figure = new_figure(left + max(len(line) for line in lines) * (side + GAP_IN), sum(heights), layout=None)
    for row, line in enumerate(lines):
        top = sum(heights) - sum(heights[:row])
        title = results.dataset_title(line[0].id.dataset)
        figure.text(0, (top - 0.05) / sum(heights), title, weight="bold", size=9.5, va="top")
        for column, model in enumerate(line):
            panel = add_panel(figure, (left + column * (side + GAP_IN), top - TITLE_IN - side), side)
            draw_matrix(panel, model, with_rows=column == 0)
            panel.set_title(matrix_title(results, model), fontsize=8, fontweight="normal")
    save_figure(figure, path)


def break_line(models: Sequence[ModelResult]) -> list[Sequence[ModelResult]]:
    """Return models in lines of equal length, at most MOST_IN_LINE."""
    if not models:
        return []
    n_lines = math.ceil(len(models) / MOST_IN_LINE)
    length = math.ceil(len(models) / n_lines)
    return [models[start : start + length] for start in range(0, len(models), length)]


def class_names(group: Sequence[ModelResult]) -> list[str]:
    """Return the class names of models of one dataset."""
    return list(group[0].metrics["class_names"])


def name_length(group: Sequence[ModelResult]) -> float:
    """Return about how long the longest class name is when written, inches."""
    return LETTER_IN * max(len(name) for name in class_names(group)) + 0.1


def add_panel(figure: Figure, corner: tuple[float, float], side: float) -> Any:
    """Add square axes. corner: of the lower left, inches. side: inches."""
    width, height = figure.get_size_inches()
    return figure.add_axes((corner[0] / width, corner[1] / height, side / width, side / height))


def matrix_title(results: Results, model: ModelResult) -> str:
    """Return backbone, init and seed on two lines."""
    seed = f", seed {model.id.seed}" if len({m.id.seed for m in results.base_models}) > 1 else ""
    return f"{BACKBONES[model.id.backbone].title}\n{results.study.init_title(model.id.init)}{seed}"


def row_shares(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return each row as shares of its sum, 0 to 1; a row without images stays 0."""
    sums = confusion.sum(axis=1, keepdims=True)
    shares: NDArray[np.float64] = np.divide(confusion, sums, out=np.zeros(confusion.shape), where=sums > 0)
    return shares


def draw_matrix(panel: Any, model: ModelResult, with_rows: bool) -> None:
    """Draw one matrix with the shares in percent; class names at the left only of the first."""
    names = model.metrics["class_names"]
    shares = row_shares(np.array(model.metrics["confusion"]))
    panel.imshow(shares, cmap=matplotlib.colormaps[SEQUENTIAL], vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        color = "white" if share > DARK else INK if share >= 0.005 else MUTED
        panel.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=7.5, color=color)
    panel.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    panel.set_yticks(range(len(names)), names if with_rows else [""] * len(names))
    panel.tick_params(length=0, labelsize=7.5)
    panel.spines[:].set_visible(False)
