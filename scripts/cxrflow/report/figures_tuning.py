"""One search on one sheet: its course, what mattered, and all settings that were tried (parallel coordinates)."""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.ticker import MaxNLocator

from cxrflow.config.settings import Range
from cxrflow.config.tuning import Space
from cxrflow.files.figures import CLASS_COLORS, INK, MUTED, PAGE_IN, RULE, SEQUENTIAL, new_figure, save_figure
from cxrflow.select.tuning import DONE, FAILED, Answer, group_trials

BLUE, ORANGE = CLASS_COLORS[:2]
PLATE = {"fc": "white", "ec": "none", "pad": 1.0, "alpha": 0.85}  # behind a mark that lines cross
PALE = 0.25  # the lowest value's place on the scale of colours: still to be seen on white


def draw_tuning(answers: Sequence[Answer], space: Space, importance: Mapping[str, float], path: Path) -> None:
    """Draw a finished search, of which at least one trial reached the last rung."""
    figure = new_figure(PAGE_IN, 5.4)
    panels = figure.subplot_mosaic([["course", "importance"], ["settings", "settings"]], height_ratios=(1, 1.15))
    draw_course(panels["course"], answers)
    draw_importance(panels["importance"], importance)
    draw_settings(panels["settings"], answers, space)
    save_figure(figure, path)


def draw_course(panel: Any, answers: Sequence[Answer]) -> None:
    """Draw macro F1 by run: open where a trial waited at a rung, filled at the last rung, and the best so far."""
    last = max(answer["rung"] for answer in answers)
    done = [answer for answer in answers if answer["state"] == DONE]
    ends = [answer for answer in done if answer["rung"] == last]
    early = [answer for answer in done if answer["rung"] < last]
    points: dict[str, Any] = {"ls": "", "marker": "o", "ms": 4.5, "mec": BLUE, "clip_on": False}
    if early:
        panel.plot(*_coordinates(early), mfc="white", label="at an earlier rung", **points)
    panel.plot(*_coordinates(ends), mfc=BLUE, label="at the last rung", **points)
    panel.step(
        _coordinates(ends)[0], [*accumulate(_coordinates(ends)[1], max)], where="post", color=ORANGE, label="best"
    )
    failed = [answer["run"] for answer in answers if answer["state"] == FAILED]
    if failed:
        panel.plot(failed, [panel.get_ylim()[0]] * len(failed), "x", color=INK, ms=5, label="failed", clip_on=False)
    panel.set(title="Course of the search", xlabel="Run", ylabel="Validation macro F1")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.grid(axis="y")
    panel.legend(loc="best", frameon=True, framealpha=0.85, edgecolor="none")


def _coordinates(answers: Sequence[Answer]) -> tuple[list[int], list[float]]:
    return [answer["run"] for answer in answers], [answer["value"] for answer in answers]


def draw_importance(panel: Any, importance: Mapping[str, float]) -> None:
    """Draw each setting's share of the differences between trials, the largest at the top."""
    names = sorted(importance, key=importance.__getitem__)
    panel.barh(names, [importance[name] for name in names], color=BLUE, height=0.6)
    panel.set(title="What mattered", xlabel="Share of the variance at the first rung", xlim=(0, 1))
    panel.grid(axis="x")
    if not names:
        panel.set_yticks([])
        panel.text(0.5, 0.5, "too few trials to tell", ha="center", va="center", color=MUTED, transform=panel.transAxes)


def draw_settings(panel: Any, answers: Sequence[Answer], space: Space) -> None:
    """Draw a line per trial through its settings to its last value; the darker, the higher; the thickest was chosen."""
    trials = sorted((t for t in group_trials(answers) if t[-1]["state"] == DONE), key=lambda t: t[-1]["value"])
    values = [trial[-1]["value"] for trial in trials]
    chosen = max(trials, key=lambda trial: (trial[-1]["rung"], trial[-1]["value"], -trial[-1]["trial"]))
    low, high = values[0], max(values[-1], values[0] + 1e-9)
    for trial, value in zip(trials, values, strict=True):
        share = (value - low) / (high - low)
        heights = [place(entry, trial[-1]["parameters"][key]) for key, entry in space.items()]
        color = matplotlib.colormaps[SEQUENTIAL](PALE + (1 - PALE) * share)
        panel.plot([*heights, share], color=color, lw=2.4 if trial is chosen else 1.2)
    for column, entry in enumerate(space.values()):
        for height, text in list_marks(entry):
            panel.text(column - 0.03, height, text, ha="right", va="center", size=7, color=INK, bbox=PLATE)
    for share, value in ((0.0, low), (1.0, values[-1])):
        panel.text(len(space) + 0.03, share, f"{value:.3f}", va="center", size=7, color=MUTED)
    panel.vlines(range(len(space) + 1), 0, 1, color=RULE, lw=0.8, zorder=0)
    panel.set(title="Settings of every trial", xlim=(-0.4, len(space) + 0.3), ylim=(-0.06, 1.06), yticks=[])
    panel.set_xticks(range(len(space) + 1), [*space, "macro F1"])
    panel.spines[:].set_visible(False)
    panel.tick_params(length=0)


def place(entry: Range | tuple[Any, ...], value: Any) -> float:
    """Return where a value stands on its axis, 0 to 1."""
    if isinstance(entry, tuple):
        return entry.index(value) / (len(entry) - 1)
    scale = math.log if entry.log else float
    low, high = scale(entry.low), scale(entry.high)
    return (scale(value) - low) / (high - low)


def list_marks(entry: Range | tuple[Any, ...]) -> list[tuple[float, str]]:
    """Return the marks of an axis: every choice, or both ends of a range."""
    values = entry if isinstance(entry, tuple) else (entry.low, entry.high)
    return [(place(entry, value), f"{value:g}" if isinstance(value, float) else str(value)) for value in values]
