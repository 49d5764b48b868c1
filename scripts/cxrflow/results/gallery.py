"""The gallery of explanations: for each class, test images that were predicted right and wrong, with their maps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.transforms import Affine2D, Bbox
from numpy.typing import NDArray

from cxrflow.files.figures import HEAT, INK, MUTED, PAPER, RULE, add_title, new_figure
from cxrflow.files.records import Predictions
from cxrflow.results.explaining import Coverage, Explainer, TestImages
from cxrflow.results.gradcam import MapLayer

THUMB_IN = 0.92  # side of one picture, inches
PAIR_GAP_IN = 0.03  # between an image and its overlay
TILE_GAP_IN = 0.12  # between tiles of a block
BLOCK_GAP_IN = 0.32  # between the right and the wrong block
CAPTION_IN = 0.26
ROW_HEAD_IN = 0.3  # class name above its row
COLUMN_HEAD_IN = 0.3
FOOT_IN = 0.4  # colour bar and key of outlines
TEXT_PT = 9.0
EMPTY = "empty map"
SUBTITLE = "Test images sampled by seed, each next to its map: {layer}; percent: probability of the prediction"
TILE_IN = 2 * THUMB_IN + PAIR_GAP_IN
OVERLAY_OPACITY = 0.75  # of the hottest pixel; in proportion below, so that without heat the X-ray alone is seen
# Seen on grey and on every colour of the heat.
OUTLINES: dict[str, tuple[str, Literal["-", "--"]]] = {"lesion": ("#35d7ff", "-"), "lungs": ("#ffffff", "--")}


@dataclass(frozen=True)
class Tile:
    """One explained test image."""

    image: NDArray[np.uint8]  # (h, w), what the network saw
    heat: NDArray[np.float32]  # (h, w), its map, at least 0
    caption: str  # below the picture
    regions: Mapping[str, Coverage]  # {kind: coverage}, plotted as outlines


@dataclass(frozen=True)
class ClassRow:
    """The tiles of one class: `right` and `wrong`, each possibly empty, and how many test images there are of each."""

    name: str
    right: Sequence[Tile]
    wrong: Sequence[Tile]
    n_right: int
    n_wrong: int


def choose_images(predictions: Predictions, per_class: int, seed: int) -> dict[str, tuple[list[int], list[int]]]:
    """Choose up to `per_class` right and wrong test images of every class: {class: (right rows, wrong rows)}.

    They are sampled by seed, without a look at the pictures or the maps: the gallery shows what is usual, not what is
    pretty.
    """
    generator = np.random.default_rng(seed)
    right = predictions.predicted == predictions.labels
    chosen = {}
    for number, name in enumerate(predictions.class_names):
        of_class = predictions.labels == number
        groups = [generator.permutation(np.flatnonzero(of_class & group))[:per_class] for group in (right, ~right)]
        chosen[name] = (sorted(groups[0].tolist()), sorted(groups[1].tolist()))
    return chosen


def write_caption(predictions: Predictions, row: int) -> str:
    """Return the predicted class and its probability; a wrong one shows `true -> predicted`."""
    names = predictions.class_names
    label, predicted = names[predictions.labels[row]], names[predictions.predicted[row]]
    share = f"{100 * predictions.probabilities[row].max():.0f} %"
    return f"{predicted} {share}" if label == predicted else f"{label} \u2192 {predicted} {share}"


def collect_gallery(explainer: Explainer, test: TestImages, per_class: int, seed: int) -> list[ClassRow]:
    """Return the gallery's rows, one per class, with up to `per_class` right and wrong test images each."""
    chosen = choose_images(test.predictions, per_class, seed)
    shown = [number for right, wrong in chosen.values() for number in (*right, *wrong)]
    images, rows = test.data.images, test.data.rows["test"]
    tiles = {
        number: Tile(
            images[rows[number]], heat, write_caption(test.predictions, number), test.coverages(test.index[number])
        )
        for number, heat in explainer.explain(test, shown, test.predictions.predicted)
    }
    labels = test.predictions.labels
    is_right = test.predictions.predicted == labels
    n_right, n_wrong = (np.bincount(labels[some], minlength=len(chosen)).tolist() for some in (is_right, ~is_right))
    return [
        ClassRow(name, [tiles[n] for n in right], [tiles[n] for n in wrong], n_right[k], n_wrong[k])
        for k, (name, (right, wrong)) in enumerate(chosen.items())
    ]


def draw_gallery(rows: Sequence[ClassRow], title: str, layer: MapLayer, per_class: int) -> Figure:
    """Draw one row of tiles per class: right predictions to the left, wrong ones to the right.

    layer: of which the maps are; per_class: tiles that a block has room for.
    """
    block_in = per_class * TILE_IN + (per_class - 1) * TILE_GAP_IN
    width_in = 2 * block_in + BLOCK_GAP_IN
    row_in = ROW_HEAD_IN + THUMB_IN + CAPTION_IN
    height_in = COLUMN_HEAD_IN + len(rows) * row_in + FOOT_IN
    figure = new_figure(width_in, height_in, layout=None)
    add_title(figure, title, SUBTITLE.format(layer=layer), scale=1.3)
    page = _Page(figure, height_in)
    longest = max((len(tile.caption) for row in rows for tile in (*row.right, *row.wrong)), default=1)
    caption_pt = min(TEXT_PT, TILE_IN * 72 / (0.57 * longest))  # a letter of DejaVu Sans is about 0.57 of its size wide
    starts = {"Predicted right": 0.0, "Predicted wrong": block_in + BLOCK_GAP_IN}
    for heading, x_in in starts.items():
        page.write(x_in, 0.17, heading, size=10.5, weight="bold")
        ends = [x_in, x_in + block_in], [COLUMN_HEAD_IN - 0.05] * 2
        figure.add_artist(Line2D(*ends, color=RULE, linewidth=0.8, transform=page.inches))
    for number, row in enumerate(rows):
        top_in = COLUMN_HEAD_IN + number * row_in
        page.write(0.0, top_in + 0.2, row.name, size=10.5, weight="bold", color=INK)
        for x_in, tiles, count in zip(starts.values(), (row.right, row.wrong), (row.n_right, row.n_wrong), strict=True):
            page.write(x_in + block_in, top_in + 0.2, f"{count:,} of {row.n_right + row.n_wrong:,}", ha="right")
            _draw_block(page, x_in, top_in + ROW_HEAD_IN, block_in, tiles, caption_pt)
    _draw_foot(page, rows, width_in, height_in - FOOT_IN + 0.1)
    return figure


class _Page:
    """A figure measured in inches from the upper left corner below its title."""

    def __init__(self, figure: Figure, height_in: float) -> None:
        self.figure = figure
        width_in, total_in = figure.get_size_inches()
        self.share = Affine2D().scale(1, -1).translate(0, height_in).scale(1 / width_in, 1 / total_in)
        self.inches = self.share + figure.transFigure

    def axes(self, x_in: float, y_in: float, width_in: float, height_in: float) -> Axes:
        """Add axes with their upper left corner at x, y."""
        box = Bbox.from_bounds(x_in, y_in + height_in, width_in, -height_in)
        return self.figure.add_axes(box.transformed(self.share).bounds)

    def write(self, x_in: float, y_in: float, text: str, **style: Any) -> None:
        """Write one line with its baseline at y."""
        self.figure.text(x_in, y_in, text, transform=self.inches, **{"size": TEXT_PT, "color": MUTED, **style})


def _draw_block(
    page: _Page, x_in: float, y_in: float, block_in: float, tiles: Sequence[Tile], caption_pt: float
) -> None:
    if not tiles:
        axes = page.axes(x_in, y_in, block_in, THUMB_IN)
        axes.set_axis_off()
        axes.add_patch(Rectangle((0, 0), 1, 1, transform=axes.transAxes, facecolor=PAPER, edgecolor="none"))
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", va="center", color=MUTED, size=TEXT_PT)
    for number, tile in enumerate(tiles):
        left_in = x_in + number * (TILE_IN + TILE_GAP_IN)
        _draw_picture(page.axes(left_in, y_in, THUMB_IN, THUMB_IN), _to_rgb(tile.image), tile)
        overlay = page.axes(left_in + THUMB_IN + PAIR_GAP_IN, y_in, THUMB_IN, THUMB_IN)
        _draw_picture(overlay, blend_heat(tile.image, tile.heat), tile)
        if not tile.heat.any():
            box = {"facecolor": INK, "edgecolor": "none", "pad": 1.5}
            overlay.text(0.5, 0.06, EMPTY, transform=overlay.transAxes, ha="center", size=7, color="white", bbox=box)
        page.write(left_in, y_in + THUMB_IN + 0.14, tile.caption, size=caption_pt, color=INK)


def _draw_picture(axes: Axes, rgb: NDArray[np.float64], tile: Tile) -> None:
    axes.imshow(rgb, interpolation="antialiased")
    for kind, coverage in tile.regions.items():
        color, line = OUTLINES[kind]
        axes.contour(coverage, levels=[0.5], colors=[color], linewidths=0.9, linestyles=[line])
    axes.set_axis_off()


def _to_rgb(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.repeat(image[..., None] / 255.0, 3, axis=2)


def blend_heat(image: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.float64]:
    """Lay the colours of a map over its image, the more opaque the hotter: float64 (h, w, 3), 0-1.

    image: uint8 (h, w). heat: float32 (h, w), at least 0; shown relative to its maximum.
    """
    relative = heat / max(float(heat.max()), 1e-12)
    colors = matplotlib.colormaps[HEAT](relative)[..., :3]
    opacity = OVERLAY_OPACITY * relative[..., None]
    blended: NDArray[np.float64] = (1 - opacity) * _to_rgb(image) + opacity * colors
    return blended


def _draw_foot(page: _Page, rows: Sequence[ClassRow], width_in: float, y_in: float) -> None:
    bar = page.axes(0.1, y_in, 1.6, 0.1)
    page.figure.colorbar(ScalarMappable(Normalize(0, 1), HEAT), cax=bar, orientation="horizontal", ticks=[0, 0.5, 1])
    bar.tick_params(labelsize=TEXT_PT - 1, length=2, pad=1)
    page.write(1.85, y_in + 0.11, "Map of the predicted class, relative to its maximum")
    shown = [kind for kind in OUTLINES if any(kind in t.regions for r in rows for t in (*r.right, *r.wrong))]
    lines = [Line2D([], [], color=OUTLINES[kind][0], linestyle=OUTLINES[kind][1], label=kind) for kind in shown]
    if lines:
        page.write(width_in - 0.9 * len(lines), y_in + 0.11, "Outlined where annotated", ha="right")
        page.figure.legend(
            handles=lines,
            loc="center right",
            bbox_to_anchor=(width_in, y_in + 0.07),
            bbox_transform=page.inches,
            ncols=len(lines),
            fontsize=TEXT_PT,
            frameon=True,
            facecolor="#4a4d52",
            edgecolor="none",
            framealpha=1.0,
            labelcolor="white",
            borderpad=0.35,
            columnspacing=1.0,
        )  # the dark ground on which white lines are seen, as on an X-ray
