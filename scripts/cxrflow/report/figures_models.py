"""All base models on one sheet: loss and macro F1 by epoch (curves), confusion matrices (confusion). Writes PNGs."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from cxrflow.compare.collect import ModelResult, Results
from cxrflow.config.backbones import BACKBONES, backbone_color
from cxrflow.config.study import SCRATCH
from cxrflow.files.figures import INK, MUTED, RULE, SEQUENTIAL, new_figure, save_figure

PANEL_IN = 3.0  # width of a dataset's column, inches
SIDES = {"loss": "Loss", "macro_f1": "Macro F1"}


def draw_curves(results: Results, path: Path) -> None:
    """Draw one column per dataset: loss above, macro F1 below, one colour per backbone."""
    names = list(results.datasets)
    figure = new_figure(max(5.0, PANEL_IN * len(names)), 5.2)
    panels = figure.subplots(2, len(names), squeeze=False, sharex="col")
    for column, name in enumerate(names):
        models = results.select(results.base_models, dataset=name)
        for panel, side in zip(panels[:, column], SIDES, strict=True):
            draw_panel(panel, models, side)
        panels[0, column].set_title(results.dataset_title(name))
        panels[1, column].set(xlabel="Epoch", ylim=(0, 1))
    for panel, title in zip(panels[:, 0], SIDES.values(), strict=True):
        panel.set_ylabel(title)
    figure.legend(handles=legend_handles(results), loc="outside lower center", ncols=4)
    save_figure(figure, path)


def draw_panel(panel: Any, models: list[ModelResult], side: str) -> None:
    """Draw the curves of each model, a single epoch as a point, and light lines where the learning rate restarts."""
    for model in models:
        epochs = [row.epoch for row in model.history]
        color, transferred = backbone_color(model.id.backbone), model.id.init != SCRATCH
        look = {"color": color, "marker": "." if len(epochs) == 1 else None}
        train, val = ([getattr(row, f"{subset}_{side}") for row in model.history] for subset in ("train", "val"))
        panel.plot(epochs, train, ls=(0, (3, 2)), lw=0.8, alpha=0.55, **look)
        panel.plot(epochs, val, ls="-", lw=2.4 if transferred else 1.2, alpha=0.6 if transferred else 1.0, **look)
        kept, face = val[epochs.index(model.epoch_kept)], "white" if transferred else color
        panel.plot(model.epoch_kept, kept, "o", ms=5, zorder=4, clip_on=False, mec=color, mfc=face)
    for epoch in sorted({at for model in models for at in restart_epochs(model)}):  # between two epochs
        panel.axvline(epoch - 0.5, color=RULE, lw=0.8, zorder=0)
    panel.grid(axis="y")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, steps=[1, 2, 5, 10]))
    if side == "loss":
        panel.set_ylim(0, loss_limit(models))


def loss_limit(models: list[ModelResult]) -> float:
    """Return the upper end of the loss axis: the first epochs and single spikes must not flatten all the rest."""
    losses = sorted(value for model in models for row in model.history for value in (row.train_loss, row.val_loss))
    return 1.1 * losses[min(len(losses) - 1, int(0.98 * len(losses)))]


def restart_epochs(model: ModelResult) -> list[int]:
    """Return the first epoch of every cycle but the first."""
    every = model.training["settings"]["restart_epochs"]
    return [row.epoch for row in model.history if row.epoch > 1 and (row.epoch - 1) % every == 0]


def legend_handles(results: Results) -> list[Line2D]:
    """Return one entry per backbone and one per way of drawing, only of what is there."""
    handles = [Line2D([], [], color=backbone_color(name), label=BACKBONES[name].title) for name in results.backbones]
    handles += [
        Line2D([], [], color=MUTED, lw=1.2, label="validation"),
        Line2D([], [], color=MUTED, lw=0.8, ls=(0, (3, 2)), label="training"),
        Line2D([], [], color=INK, marker="o", ls="", ms=5, label="epoch kept"),
    ]
    if any(model.id.init != SCRATCH for model in results.base_models):
        handles.append(Line2D([], [], color=MUTED, lw=2.4, alpha=0.6, marker="o", mfc="white", label="transferred"))
    if any(restart_epochs(model) for model in results.base_models):
        handles.append(Line2D([], [], color=RULE, lw=0.8, marker="|", ms=9, ls="", label="warm restart"))
    return handles


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
    groups = [results.select(results.base_models, dataset=name) for name in results.datasets]
    lines = [line for models in groups for line in break_line(models)]
    side = max([MATRIX_IN, *(CELL_IN * len(class_names(line)) for line in lines)])
    left = max(name_length(line) for line in lines) + 0.3
    heights = [TITLE_IN + side + 0.75 * name_length(line) + 0.25 for line in lines]
    figure = new_figure(left + max(len(line) for line in lines) * (side + GAP_IN), sum(heights), layout=None)
    size = figure.get_size_inches()
    for row, line in enumerate(lines):
        top = sum(heights) - sum(heights[:row])
        title = results.dataset_title(line[0].id.dataset)
        figure.text(0, (top - 0.05) / sum(heights), title, weight="bold", size=9.5, va="top")
        for column, model in enumerate(line):
            corner = np.array([left + column * (side + GAP_IN), top - TITLE_IN - side]) / size
            panel = figure.add_axes((*corner, *(side / size)))
            draw_matrix(panel, model, with_rows=column == 0)
            panel.set_title(results.short_title(model).replace(", ", "\n", 1), fontsize=8, fontweight="normal")
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
    """Return about how long the longest class name is when written with its number, inches."""
    return LETTER_IN * max(len(name) for name in list_rows(group[0])) + 0.1


def list_rows(model: ModelResult) -> list[str]:
    """Return each class with its test images, which its percents are of: `COVID, n = 22`."""
    return [f"{name}, n = {scores['support']:,}" for name, scores in model.metrics["per_class"].items()]


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
    panel.set_yticks(range(len(names)), list_rows(model) if with_rows else [""] * len(names))
    panel.tick_params(length=0, labelsize=7.5)
    panel.spines[:].set_visible(False)
