"""Macro F1 of all base models: with what they have to beat (f1), and against what it costs (efficiency)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from cxrflow.compare.choice import candidate_rows
from cxrflow.compare.collect import ModelResult, Results
from cxrflow.compare.rows import cost_columns
from cxrflow.config.backbones import BACKBONES, backbone_color, backbone_marker
from cxrflow.config.layout import CandidateId
from cxrflow.config.probes import THUMBNAIL
from cxrflow.config.study import SCRATCH
from cxrflow.files.figures import INK, MUTED, RULE, new_figure, save_figure
from cxrflow.files.formats import KINDS, mark_patients

WIDTH_IN = 5.6  # narrow enough to be read on a phone
BEHIND = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}  # keeps the line of chance out of a number
LETTER = 0.021  # width of a number's letter, as macro F1
DOT = 0.024  # from the middle of a dot to a number beside it
NAMES_APART = 0.17  # two lines' names, each in the middle above its line, need as much between them, as macro F1
ROW_IN = 0.24  # height of a model's row, inches


def draw_f1(results: Results, path: Path) -> None:
    """Draw one row per base model, one panel per dataset."""
    groups = {name: results.select(results.base_models, dataset=name) for name in results.datasets}
    groups = {name: models for name, models in groups.items() if models}
    sizes = [len(models) + 1.4 for models in groups.values()] or [2]
    figure = new_figure(WIDTH_IN, ROW_IN * sum(sizes) + 0.6)
    panels = figure.subplots(len(sizes), 1, squeeze=False, sharex=True, height_ratios=sizes)[:, 0]
    for panel, (name, models) in zip(panels, groups.items(), strict=False):
        draw_dataset(panel, results, models)
        panel.set_title(results.dataset_title(name))
    panels[-1].set(xlabel="Macro F1 on the test images", xlim=(0, 1))
    save_figure(figure, path)


def draw_dataset(panel: Any, results: Results, models: list[ModelResult]) -> None:
    """Draw the models of one dataset, first on top, and what they have to beat as lines."""
    thumbnail = results.probes[models[0].id.dataset][THUMBNAIL]["macro_f1"]["value"]
    lines = sorted([(models[0].metrics["chance_macro_f1"], "chance"), (thumbnail, THUMBNAIL)])
    aside = (("right", -DOT / 2), ("left", DOT / 2)) if lines[1][0] - lines[0][0] < NAMES_APART else [("center", 0)] * 2
    for (value, name), (side, shift) in zip(lines, aside, strict=True):
        panel.plot([value, value], [-0.45, len(models) - 0.5], color=RULE, lw=2.5, zorder=0)
        panel.text(value + shift, -0.8, name, color=MUTED, fontsize=6.5, ha=side, va="center")
    for y, model in enumerate(models):
        draw_score(panel, model, y)
    labels = [results.short_title(m) + " †" * results.seen_test.is_possible(m.id) for m in models]
    panel.set_yticks(range(len(models)), labels)
    panel.set_ylim(len(models) - 0.5, -1.1)
    panel.grid(axis="x")
    panel.tick_params(axis="y", length=0)
    panel.spines[["left", "bottom"]].set_visible(False)


def draw_score(panel: Any, model: ModelResult, y: float) -> None:
    """Draw a model's macro F1, its interval and its number; nothing where it is not defined."""
    score = model.metrics["macro_f1"]
    if score["value"] is None:
        panel.text(0.01, y, "not defined", color=MUTED, fontsize=7, va="center")
        return
    color = backbone_color(model.id.backbone)
    right = score["value"]
    if score["low"] is not None and score["high"] is not None:
        panel.plot([score["low"], score["high"]], [y, y], color=color, lw=2.6, alpha=0.55, clip_on=False)
        right = score["high"]
    face = color if model.id.init == SCRATCH else "white"
    panel.plot(score["value"], y, "o", ms=6.5, mec=color, mew=1.6, mfc=face, clip_on=False)
    text = KINDS["score"].show(score["value"]) + mark_patients(score["n_patients"])
    inside = right + LETTER * len(text) > 1.015  # the number would leave the panel
    low = score["value"] if score["low"] is None else score["low"]
    x = min(low - 0.012, score["value"] - DOT) if inside else max(right + 0.012, score["value"] + DOT)
    side = "right" if inside else "left"
    panel.text(x, y, text, fontsize=7, va="center", ha=side, bbox=BEHIND)


COSTS = {
    "latency_ms": "Latency of one X-ray, ms",
    "gmac": "Multiply-adds of one image, GMAC",
    "params_m": "Parameters, millions",
    "energy_j": "Energy of one image, J",
}
PANEL_IN = 2.6  # width of a dataset's column, inches
ENSEMBLE_PT, MODEL_PT = 11, 7  # sizes of their marks


@dataclass(frozen=True)
class Point:
    """One model, or one candidate of several networks or with flip: what it scores, what it costs, how it is drawn."""

    backbone: str
    score: Mapping[str, Any]  # `value`, `low` and `high`
    costs: Mapping[str, float | None]
    is_transferred: bool
    is_ensemble: bool = False
    flip: bool = False


def list_points(results: Results) -> dict[str, list[Point]]:
    """Return what is drawn of each dataset: every base model, and the candidates that are more than one."""
    points: dict[str, list[Point]] = {name: [] for name in results.datasets}
    for model in results.base_models:
        if model.macro_f1 is not None:
            costs = cost_columns(results, model)
            costs["energy_j"] = results.profiles[model.id.backbone]["inference"]["energy_j"]
            point = Point(model.id.backbone, model.metrics["macro_f1"], costs, model.id.init != SCRATCH)
            points[model.id.dataset].append(point)
    for row in candidate_rows(results):
        candidate = CandidateId.parse(row["model"])
        first, is_ensemble = candidate.members[0], len(candidate.members) > 1
        if is_ensemble or candidate.flip:
            score = {"value": row["macro_f1"], "low": row["macro_f1_low"], "high": row["macro_f1_high"]}
            point = Point(first.backbone, score, row, first.init != SCRATCH, is_ensemble, candidate.flip)
            points[first.dataset].append(point)
    return points


def draw_efficiency(results: Results, path: Path) -> None:
    """Draw one column per dataset, one row per cost that could be measured."""
    points = list_points(results)
    drawn = [point for several in points.values() for point in several]
    costs = [key for key in COSTS if key != "energy_j" or any(point.costs[key] for point in drawn)]
    figure = new_figure(max(5.0, PANEL_IN * len(points)), 2.4 * len(costs))
    panels = figure.subplots(len(costs), len(points), squeeze=False, sharey="col", sharex="row")
    for column, (name, of_dataset) in enumerate(points.items()):
        for panel, key in zip(panels[:, column], costs, strict=True):
            draw_panel(panel, of_dataset, key)
            panel.set_xlabel(COSTS[key])
        panels[0, column].set_title(results.dataset_title(name))
    for panel in panels[:, 0]:
        panel.set_ylabel("Macro F1")
    figure.legend(handles=legend_handles(results, drawn), loc="outside lower center", ncols=4)
    save_figure(figure, path)


def draw_panel(panel: Any, points: Sequence[Point], key: str) -> None:
    """Draw the macro F1 of each over its cost (log scale), and the front behind them."""
    known = [(cost, point) for point in points if (cost := point.costs[key]) is not None]
    front = pareto_front([(cost, point.score["value"]) for cost, point in known])
    panel.plot(*zip(*front, strict=True), color=RULE, lw=1.4, zorder=1) if front else None
    for cost, point in known:
        draw_point(panel, point, cost)
    panel.set_xscale("log")
    costs = [cost for cost, _ in known]
    if costs:
        panel.set_xlim(min(costs) / 1.6, max(costs) * 1.6)
    panel.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.tick_params(axis="x", which="minor", length=0)
    panel.grid(axis="both")


def draw_point(panel: Any, point: Point, cost: float) -> None:
    """Draw one with its interval; filled from scratch, open transferred, large an ensemble, crossed with flip."""
    score, color = point.score, backbone_color(point.backbone)
    if score["low"] is not None and score["high"] is not None:
        panel.plot([cost, cost], [score["low"], score["high"]], color=color, lw=1.6, alpha=0.45, zorder=2)
    face = "white" if point.is_transferred else color
    size = ENSEMBLE_PT if point.is_ensemble else MODEL_PT
    panel.plot(cost, score["value"], backbone_marker(point.backbone), ms=size, mec=color, mew=1.6, mfc=face, zorder=3)
    if point.flip:
        panel.plot(cost, score["value"], "|", ms=size + 6, color=INK, mew=1.2, zorder=4)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the (cost, score) points that no other point beats on both, cheapest first."""
    front: list[tuple[float, float]] = []
    for cost, score in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or score > front[-1][1]:
            front.append((cost, score))
    return front


def legend_handles(results: Results, points: Sequence[Point]) -> list[Line2D]:
    """Return one entry per backbone with its parameters, and the ways of drawing that occur."""
    handles = [
        Line2D(
            [], [], color=backbone_color(name), marker=backbone_marker(name), ls="",
            label=f"{BACKBONES[name].title}, {KINDS['amount'].show(profile['params'] / 1e6)} M parameters",
        )
        for name, profile in results.profiles.items()
    ]  # fmt: skip
    if any(point.is_transferred for point in points):
        handles.append(Line2D([], [], color=MUTED, marker="o", mfc="white", ls="", label="transferred"))
    if any(point.is_ensemble for point in points):
        handles.append(Line2D([], [], color=MUTED, marker="o", ms=ENSEMBLE_PT, ls="", label="ensemble of seeds"))
    if any(point.flip for point in points):
        handles.append(Line2D([], [], color=INK, marker="|", ms=MODEL_PT + 6, ls="", label="with flip"))
    return [*handles, Line2D([], [], color=RULE, lw=1.4, label="Pareto front")]
