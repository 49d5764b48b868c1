"""What settings and train images are worth: the forest of variants (forest), the learning curves (learning_curve)."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from cxrflow.compare.ablation import UNTOLD, ablation_rows
from cxrflow.compare.collect import Results
from cxrflow.compare.learning import FARTHEST, Curve, find_curves, power_law
from cxrflow.config.backbones import BACKBONES, backbone_color, backbone_marker
from cxrflow.files.figures import MUTED, new_figure, save_figure
from cxrflow.files.formats import KINDS

WIDTH_IN = 7.2
ROW_IN = 0.22  # height of a variant's row, inches
PANEL_IN = 2.6  # side of a learning curve, inches


def draw_forest(results: Results, path: Path) -> None:
    """Draw one panel per dataset, backbone and init, one row per variant."""
    rows = ablation_rows(results)
    if not rows:
        _write_sentence(path, "This study trains no variants.")
        return
    panels = [(title, list(members)) for title, members in groupby(rows, key=_title_of)]
    heights = [len(members) + 1.6 for _, members in panels]
    figure = new_figure(WIDTH_IN, ROW_IN * sum(heights) + 0.6)
    axes = figure.subplots(len(heights), 2, squeeze=False, sharex="col", sharey="row", height_ratios=heights)
    for (left, right), (title, members) in zip(axes, panels, strict=True):
        _draw_differences(left, members, "difference")
        _draw_differences(right, members, "log_loss_difference")
        left.set_title(title)
        left.set_yticks(range(len(members)), [row["variant"] + _mark(row["control"]) for row in members])
        left.set_ylim(len(members) - 0.4, -0.6)
        _write_costs(right, members)
    for panel, label in zip(
        axes[-1], ("Macro F1, variant minus base", "Log loss, calibrated on validation (less is better)"), strict=True
    ):
        panel.xaxis.set_major_locator(MaxNLocator(4))
        panel.set_xlabel(label)
    save_figure(figure, path)


def _title_of(row: Mapping[str, Any]) -> str:
    return f"{row['dataset']}, {row['backbone']}, {row['init']}"


def _draw_differences(panel: Any, rows: Sequence[Mapping[str, Any]], key: str) -> None:
    """Draw one difference of the variants of one base, first on top; filled where macro F1 is told from zero."""
    panel.axvline(0, color=MUTED, lw=1.0, zorder=1)
    for y, row in enumerate(rows):
        color = backbone_color(_key_of(row["backbone"]))
        if row[f"{key}_low"] is not None:
            panel.plot([row[f"{key}_low"], row[f"{key}_high"]], [y, y], color=color, lw=2.2, alpha=0.55)
        face = "white" if row["verdict"] == UNTOLD else color
        panel.plot(row[key], y, "o", ms=6, mec=color, mew=1.5, mfc=face)
    panel.grid(axis="x")
    panel.tick_params(axis="y", length=0)
    panel.spines[["left", "bottom"]].set_visible(False)


def _write_costs(panel: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write what each variant costs at the right of a panel."""
    style = {"va": "center", "fontsize": 7, "color": MUTED, "transform": panel.get_yaxis_transform()}
    for y, row in enumerate(rows):
        panel.text(1.04, y, _describe_cost(row), **style)


def _mark(control: str) -> str:
    return f" ({control} control)" if control else ""


def _key_of(title: str) -> str:
    return next(name for name, backbone in BACKBONES.items() if backbone.title == title)


def _describe_cost(row: Mapping[str, Any]) -> str:
    parts = [f"{row['train_seconds'] / row['base_seconds']:.2f} x time"]
    if row["gmac"] is not None:
        parts.append(f"{KINDS['amount'].show(row['gmac'])} GMAC")
    return ", ".join(parts)


def draw_learning(results: Results, path: Path) -> None:
    """Draw one panel per dataset, one curve per backbone and init."""
    curves = find_curves(results)
    if not curves:
        _write_sentence(path, "No model was trained on part of the train images.")
        return
    names = [name for name in results.datasets if any(curve.model.id.dataset == name for curve in curves)]
    figure = new_figure(max(4.0, PANEL_IN * len(names)), PANEL_IN + 0.4)
    panels = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
    for panel, name in zip(panels, names, strict=False):
        some = [curve for curve in curves if curve.model.id.dataset == name]
        for curve in some:
            _draw_curve(panel, curve, results.short_title(curve.model).partition(", seed")[0])
        panel.set(title=results.dataset_title(name), xlabel="Train images", xscale="log")
        panel.xaxis.set_major_locator(FixedLocator(sorted({n for curve in some for n in curve.n_train})))
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        panel.xaxis.set_minor_locator(NullLocator())
        panel.grid(axis="both")
        panel.legend(loc="lower right")
    panels[0].set_ylabel("Macro F1 on the test images")
    save_figure(figure, path)


def _write_sentence(path: Path, text: str) -> None:
    """Write a figure of one sentence, which stands where there is nothing to draw; the page leaves it out."""
    figure = new_figure(PANEL_IN * 1.5, PANEL_IN)
    panel = figure.subplots()
    panel.text(0.5, 0.5, text, ha="center")
    panel.set(xticks=[], yticks=[])
    save_figure(figure, path)


def _draw_curve(panel: Any, curve: Curve, label: str) -> None:
    """Draw the measured points, and the law with its interval where it can be fitted."""
    color = backbone_color(curve.model.id.backbone)
    values = [score.value for score in curve.scores]
    panel.plot(
        curve.n_train, values, backbone_marker(curve.model.id.backbone), color=color, ms=5, label=label, zorder=3
    )
    for n, score in zip(curve.n_train, curve.scores, strict=True):
        if score.low is not None:
            panel.plot([n, n], [score.low, score.high], color=color, lw=1.6, alpha=0.45)
    if not curve.can_be_fitted:
        return
    measured = np.geomspace(curve.n_train[0] / curve.n_train[-1], 1, 30)
    foreseen = np.geomspace(1, FARTHEST, 10)
    times = np.concatenate([measured, foreseen])
    low, high = np.transpose([curve.predict(each)[1:] for each in times])
    panel.fill_between(times * curve.n_train[-1], low, high, color=color, alpha=0.12, lw=0)
    for part, style in ((measured, "-"), (foreseen, "--")):
        panel.plot(part * curve.n_train[-1], power_law(part, *curve.laws[0]), style, color=color, lw=1.2)
