"""Loss and macro F1 of all models on one sheet, epoch by epoch. Writes one PNG."""

from pathlib import Path
from typing import Any

from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from cxrflow.compare.collect import ModelResult, Results
from cxrflow.config.backbones import BACKBONES
from cxrflow.config.study import SCRATCH
from cxrflow.files.figures import INK, MUTED, RULE, backbone_color, new_figure, save_figure

PANEL_IN = 3.0  # width of a dataset's column, inches
SIDES = ("loss", "macro_f1")
SIDE_TITLES = {"loss": "Loss", "macro_f1": "Macro F1"}


def draw_curves(results: Results, path: Path) -> None:
    """Draw one column per dataset: loss above, macro F1 below, one colour per backbone."""
    names = list(results.datasets)
    figure = new_figure(max(5.0, PANEL_IN * len(names)), 5.2)
    panels = figure.subplots(2, len(names), squeeze=False, sharex="col")
    for column, name in enumerate(names):
        models = results.select(results.base_models, dataset=name)
        for panel, side in zip(panels[:, column], SIDES, strict=True):
            draw_panel(panel, models, side)
            mark_restarts(panel, models)
        panels[0, column].set_title(results.dataset_title(name))
        panels[1, column].set_xlabel("Epoch")
        panels[1, column].set_ylim(0, 1)
    for row, side in enumerate(SIDES):
        panels[row, 0].set_ylabel(SIDE_TITLES[side])
    figure.legend(handles=legend_handles(results), loc="outside lower center", ncols=4)
    save_figure(figure, path)


def draw_panel(panel: Any, models: list[ModelResult], side: str) -> None:
    """Draw the training and validation curve of each model; a single epoch is a point."""
    for model in models:
        epochs = [row.epoch for row in model.history]
        look = {"color": backbone_color(model.id.backbone), "marker": "." if len(epochs) == 1 else None}
        transferred = model.id.init != SCRATCH
        train, val = ([getattr(row, f"{subset}_{side}") for row in model.history] for subset in ("train", "val"))
        panel.plot(epochs, train, ls=(0, (3, 2)), lw=0.8, alpha=0.55, **look)
        panel.plot(epochs, val, ls="-", lw=2.4 if transferred else 1.2, alpha=0.6 if transferred else 1.0, **look)
        _mark_kept(panel, model, val)
    panel.grid(axis="y")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, steps=[1, 2, 5, 10]))
    if side == "loss":
        panel.set_ylim(0, loss_limit(models))


def _mark_kept(panel: Any, model: ModelResult, val: list[float]) -> None:
    at = [row.epoch for row in model.history].index(model.epoch_kept)
    color = backbone_color(model.id.backbone)
    panel.plot(
        model.epoch_kept, val[at], "o", ms=5, zorder=4, clip_on=False, mec=color,
        mfc="white" if model.id.init != SCRATCH else color,
    )  # fmt: skip


def loss_limit(models: list[ModelResult]) -> float:
    """Return the upper end of the loss axis: the first epochs and single spikes must not flatten all the rest."""
    losses = sorted(value for model in models for row in model.history for value in (row.train_loss, row.val_loss))
    return 1.1 * losses[min(len(losses) - 1, int(0.98 * len(losses)))]


def mark_restarts(panel: Any, models: list[ModelResult]) -> None:
    """Draw a light vertical line where the learning rate restarts: between a cycle's last epoch and the next."""
    restarts = {at for model in models for at in restart_epochs(model)}
    for epoch in sorted(restarts):
        panel.axvline(epoch - 0.5, color=RULE, lw=0.8, zorder=0)


def restart_epochs(model: ModelResult) -> list[int]:
    """Return the first epoch of every cycle but the first."""
    every = model.training["settings"]["restart_epochs"]
    return [row.epoch for row in model.history if row.epoch > 1 and (row.epoch - 1) % every == 0]


def legend_handles(results: Results) -> list[Line2D]:
    """Return one entry per backbone and one per way of drawing, only of what is there."""
    models = results.base_models
    handles = [Line2D([], [], color=backbone_color(name), label=BACKBONES[name].title) for name in results.backbones]
    handles += [
        Line2D([], [], color=MUTED, lw=1.2, label="validation"),
        Line2D([], [], color=MUTED, lw=0.8, ls=(0, (3, 2)), label="training"),
        Line2D([], [], color=INK, marker="o", ls="", ms=5, label="epoch kept"),
    ]
    if any(model.id.init != SCRATCH for model in models):
        handles.append(Line2D([], [], color=MUTED, lw=2.4, alpha=0.6, marker="o", mfc="white", label="transferred"))
    if any(restart_epochs(model) for model in models):
        handles.append(Line2D([], [], color=RULE, lw=0.8, marker="|", ms=9, ls="", label="warm restart"))
    return handles
