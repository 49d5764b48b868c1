"""The plot of growth.py: CPU time and memory of every stage against the number of images, both axes logarithmic."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from cxrflow.files.figures import CLASS_COLORS, GRID, MUTED, PAGE_IN, add_title, new_figure, save_figure

if TYPE_CHECKING:
    from tests.benchmarks.growth import Point

MARKERS = "os^DvPX<>"
DPI = 110  # a small file
SUBTITLE = "One process per point, images of 16 px. Memory is without the page cache. Dotted: n log n."


def draw_growth(points: "Sequence[Point]", path: Path) -> None:
    """Write the plot as PNG."""
    figure = new_figure(PAGE_IN, 3.6)
    add_title(figure, "How time and memory grow", SUBTITLE)
    left, right = figure.subplots(1, 2)
    draw_lines(left, points, "cpu_s", "CPU-seconds")
    draw_lines(right, points, "peak_mib", "Peak memory, MiB")
    draw_guide(left, points)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    save_figure(figure, path, DPI)


def draw_lines(axes: Axes, points: "Sequence[Point]", value: str, title: str) -> None:
    """Draw one line per stage."""
    for number, stage in enumerate(dict.fromkeys(point.stage for point in points)):
        own = [point for point in points if point.stage == stage]
        label = stage if own[0].unit == "images" else f"{stage} (n {own[0].unit})"
        color, marker = CLASS_COLORS[number % len(CLASS_COLORS)], MARKERS[number % len(MARKERS)]
        values = [getattr(point, value) for point in own]
        axes.plot([point.n for point in own], values, label=label, color=color, marker=marker)
    axes.set(xscale="log", yscale="log", xlabel="n, images or models", title=title)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:,.12g}")  # the style shows no powers of ten
        axis.set_minor_formatter(NullFormatter())
    axes.grid(color=GRID)


def draw_guide(axes: Axes, points: "Sequence[Point]") -> None:
    """Draw n log n, through the highest of the rightmost points; nothing of it below the points."""
    high = max(point.n for point in points)
    top = max(point.cpu_s for point in points if point.n == high)
    sizes = [high / 10**3, high]
    axes.autoscale(enable=False)
    axes.plot(sizes, [top * n * math.log(n) / (high * math.log(high)) for n in sizes], color=MUTED, linestyle=":")
