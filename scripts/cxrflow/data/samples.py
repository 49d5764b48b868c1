"""Pictures of the data: samples of every class as the networks see them, and what preprocessing does to an image.

Reads rows of the index, images.npy, and the files of the few images shown step by step. The figures are returned;
scripts/samples.py saves them.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cxrflow.config.settings import PreprocessSettings
from cxrflow.data.capping import seeded_rank
from cxrflow.data.packing import read_indexed
from cxrflow.data.preprocessing import Gray, preprocessing_steps
from cxrflow.files.figures import INK, MUTED, PAGE_IN, add_title, new_figure
from cxrflow.files.records import IndexRow

LABEL_IN = 1.25  # width of the column with class names, inches
LABEL_LETTERS = 16  # that fit into it
LINE_IN, SMALL_LINE_IN = 0.165, 0.135  # heights of its lines
GAP_IN = 0.05  # between pictures
HEADER_IN = 0.2  # above the pictures, for the names of the steps
LEAST_STEPS = 4  # whose width a picture has: original, resized, equalized, blurred
STEP_EXAMPLES = 3  # images shown step by step
BINS = 64  # of the histograms: four grey levels each


def choose_samples(rows: Sequence[IndexRow], per_class: int, seed: int) -> dict[str, list[int]]:
    """Choose rows of each class in seeded order, one of each patient before a second one of any.

    Returns {class name: row numbers}, classes in alphabetical order.
    """
    chosen: dict[str, list[int]] = {}
    for label in sorted({row.label for row in rows}):
        members = [number for number, row in enumerate(rows) if row.label == label]
        members.sort(key=lambda number: seeded_rank(seed, rows[number].image_id))
        seen: dict[str, int] = {}
        turn = {number: _count_up(seen, rows[number].patient_id) for number in members}
        chosen[label] = sorted(members, key=turn.__getitem__)[:per_class]
    return chosen


def _count_up(counts: dict[str, int], key: str) -> int:
    counts[key] = counts.get(key, 0) + 1
    return counts[key]


def draw_samples(
    images: NDArray[np.uint8], rows: Sequence[IndexRow], chosen: dict[str, list[int]], title: str
) -> Figure:
    """Draw one line of preprocessed images per class, with its name and number of images.

    images: uint8 (N, H, W), 0-255.
    """
    columns = max(len(numbers) for numbers in chosen.values())
    side = (PAGE_IN - LABEL_IN) / columns - GAP_IN
    subtitle = f"Samples by class after preprocessing to {images.shape[1]} px; {len(rows):,} images in all"
    grid = _Grid(len(chosen) * (side + GAP_IN), title, subtitle)
    for line, (label, numbers) in enumerate(chosen.items()):
        top = line * (side + GAP_IN)
        n = sum(row.label == label for row in rows)
        grid.write_label(top + side / 2, label, [_count(n, "image")])
        for column, number in enumerate(numbers):
            axes = grid.add_axes(LABEL_IN + column * (side + GAP_IN), top, side, side)
            _show(axes, images[number])
    return grid.figure


def choose_examples(chosen: dict[str, list[int]]) -> list[int]:
    """Return the first sample of up to three classes, spread over the classes."""
    firsts = [numbers[0] for numbers in chosen.values()]
    if len(firsts) <= STEP_EXAMPLES:
        return firsts
    return [firsts[round(i * (len(firsts) - 1) / (STEP_EXAMPLES - 1))] for i in range(STEP_EXAMPLES)]


def draw_steps(folder: Path, rows: Sequence[IndexRow], settings: PreprocessSettings, title: str) -> Figure:
    """Draw each given image before preprocessing and after every step, with the histogram of its grey levels below."""
    originals = [read_indexed(folder, row) for row in rows]
    steps = [{"Original": gray, **preprocessing_steps(gray, settings)} for gray in originals]
    side = (PAGE_IN - LABEL_IN) / max(LEAST_STEPS, len(steps[0])) - GAP_IN
    below = 0.36 * side
    block = side + below + 0.32
    grid = _Grid(
        HEADER_IN + len(rows) * block, title, "Preprocessing step by step, with the grey levels of every image"
    )
    for line, (row, pictures) in enumerate(zip(rows, steps, strict=True)):
        top = HEADER_IN + line * block
        grid.write_label(top + side / 2, row.label, [row.image_id, f"{row.width} x {row.height} px"])
        for column, (name, picture) in enumerate(pictures.items()):
            left = LABEL_IN + column * (side + GAP_IN)
            _show(grid.add_axes(left, top, side, side), picture)
            if line == 0:
                grid.write(left + side / 2, top - 0.1, name, ha="center", fontsize=8, fontweight="bold")
            _draw_histogram(grid.add_axes(left, top + side + 0.04, side, below), picture)
    return grid.figure


def _draw_histogram(axes: Axes, picture: Gray) -> None:
    """Draw the histogram; few high bars, as of a black border, are cut off, so that they do not flatten the rest."""
    shares = np.bincount(picture.ravel() // (256 // BINS), minlength=BINS) / picture.size
    axes.bar(np.arange(BINS) * 256 / BINS, shares, width=256 / BINS, align="edge", color=MUTED, linewidth=0)
    top = 1.4 * float(np.quantile(shares[shares > 0], 0.9))
    axes.set(xlim=(0, 256), ylim=(0, top), yticks=[], xticks=[0, 128, 256], xticklabels=["0", "128", "255"])
    axes.tick_params(labelsize=6, length=2, pad=1.5)
    first, _, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")  # the neighbour's numbers are near
    last.set_horizontalalignment("right")
    axes.spines["left"].set_visible(False)


def _show(axes: Axes, picture: Gray) -> None:
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
    axes.set_axis_off()


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def break_name(name: str, letters: int) -> list[str]:
    """Break a name into lines of at most `letters`, after spaces, slashes, dashes and underscores where it has any."""
    lines = [""]
    for piece in re.split(r"(?<=[ /_-])", name):
        while len(lines[-1] + piece) > letters:
            room = 0 if lines[-1] else letters  # a piece that is too long by itself is cut
            lines[-1], piece = lines[-1] + piece[:room], piece[room:]
            lines.append("")
        lines[-1] += piece
    return [line for line in lines if line]


class _Grid:
    """A figure with a title, on which things are placed in inches from the top left corner below the title."""

    def __init__(self, height_in: float, title: str, subtitle: str) -> None:
        self.figure = new_figure(PAGE_IN, height_in, layout=None)
        add_title(self.figure, title, subtitle)
        self.total = self.figure.get_figheight()
        self.head = self.total - height_in

    def add_axes(self, left: float, top: float, width: float, height: float) -> Axes:
        box = (left / PAGE_IN, self._up(top + height), width / PAGE_IN, height / self.total)
        return self.figure.add_axes(box)

    def write(self, left: float, top: float, text: str, **style: Any) -> None:
        self.figure.text(left / PAGE_IN, self._up(top), text, **{"va": "center", "color": INK, **style})

    def write_label(self, middle: float, name: str, details: list[str]) -> None:
        """Write a class name and lighter details into the first column, around the height `middle`."""
        names = break_name(name, LABEL_LETTERS)
        small = [line for detail in details for line in break_name(detail, LABEL_LETTERS + 5)]
        top = middle - (LINE_IN * len(names) + SMALL_LINE_IN * len(small)) / 2
        for number, line in enumerate(names):
            self.write(0, top + LINE_IN * (number + 0.5), line, fontsize=9, fontweight="bold")
        for number, line in enumerate(small):
            place = top + LINE_IN * len(names) + SMALL_LINE_IN * (number + 0.5)
            self.write(0, place, line, fontsize=7, color=MUTED)

    def _up(self, top: float) -> float:
        return 1 - (self.head + top) / self.total
