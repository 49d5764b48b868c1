"""Macro F1 of all base models with intervals and chance, grouped by dataset. Writes one PNG."""

from pathlib import Path
from typing import Any

from cxrflow.compare.collect import ModelResult, Results, may_have_seen_test
from cxrflow.config.backbones import BACKBONES
from cxrflow.config.study import SCRATCH
from cxrflow.files.figures import MUTED, RULE, backbone_color, new_figure, save_figure
from cxrflow.files.formats import KINDS

WIDTH_IN = 5.6  # narrow enough to be read on a phone
BEHIND = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}  # keeps the line of chance out of a number
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
    panels[-1].set_xlabel("Macro F1 on the test images")
    panels[-1].set_xlim(0, 1)
    save_figure(figure, path)


def draw_dataset(panel: Any, results: Results, models: list[ModelResult]) -> None:
    """Draw the models of one dataset, first on top, and chance as a line."""
    chance = models[0].metrics["chance_macro_f1"]
    panel.plot([chance, chance], [-0.45, len(models) - 0.5], color=RULE, lw=2.5, zorder=0)
    panel.text(chance, -0.8, "chance", color=MUTED, fontsize=6.5, ha="center", va="center")
    for y, model in enumerate(models):
        draw_score(panel, model, y)
    panel.set_yticks(range(len(models)), [row_label(results, model) for model in models])
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
    panel.plot(score["value"], y, "o", ms=6.5, mec=color, mew=1.6, mfc=color if model.id.init == SCRATCH else "white")
    inside = right > 0.93  # the number would leave the panel
    x = (score["low"] or score["value"]) - 0.012 if inside else right + 0.012
    side = "right" if inside else "left"
    panel.text(x, y, KINDS["score"].show(score["value"]), fontsize=7, va="center", ha=side, bbox=BEHIND)


def row_label(results: Results, model: ModelResult) -> str:
    """Return backbone and init, the seed where there are several, and a dagger for what may have seen test images."""
    seed = f", seed {model.id.seed}" if len({m.id.seed for m in results.base_models}) > 1 else ""
    seen = " †" if may_have_seen_test(results, model) else ""
    return f"{BACKBONES[model.id.backbone].title}, {results.study.init_title(model.id.init)}{seed}{seen}"
