"""How every figure looks: backend, fonts, sizes, colours, and the one way to save one.

Importing this module sets matplotlib up. Figures are made with `new_figure`, never with pyplot, which would cost 0.6 s
of import and keep every figure alive. Writes the PNG files that its callers name.
"""

import colorsys
import textwrap
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from cxrflow.files.atomic import write_atomically

INK = "#1a1a1a"  # text and the outlines that must be seen
MUTED = "#5f6368"  # subtitles, tick labels
RULE = "#c4c7cc"  # axes, cell borders
GRID = "#e6e8eb"
PAPER = "#f5f6f7"  # an empty cell

PAGE_IN = 7.2  # the whole width of that page, inches
TITLE_PT = 10.0
SUBTITLE_PT = 8.0
LINE_HEIGHT = 1.35  # of the letter size
DPI = 200  # pixels per inch of every figure that does not ask for more

SEQUENTIAL = "Blues"  # shares and counts: prints in grey, light is little
HEAT = "inferno"  # Grad-CAM: even steps of lightness, unlike jet, which shows edges that do not exist

# Okabe & Ito 2008 (jfly.uni-koeln.de/color) without its yellow, which vanishes on white; then Paul Tol's "muted"
# (personal.sron.nl/~pault), the ones far from the first seven. Both are made for colour-blind readers.
CLASS_COLORS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#333333",
    "#882255", "#999933", "#332288", "#117733", "#ddcc77",
)  # fmt: skip

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same letters on every machine
    "font.size": 8.0,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$5": names are shown as they are
    "axes.titlesize": 9.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.0,
    "axes.labelcolor": INK,
    "axes.edgecolor": RULE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.handletextpad": 0.3,
    "legend.borderaxespad": 0.0,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "image.interpolation": "nearest",
}

matplotlib.rcdefaults()  # a user's matplotlibrc must not change a published figure
matplotlib.use("Agg")  # draws without a screen
matplotlib.rcParams.update(STYLE)


def class_color(index: int) -> str:
    """Return the colour of the class at `index` of the alphabetical class names, the same in every figure.

    The twelve chosen ones first; from the thirteenth on, hues a golden angle apart, which are distinct but no longer
    safe for colour-blind readers.
    """
    if index < len(CLASS_COLORS):
        return CLASS_COLORS[index]
    red, green, blue = colorsys.hls_to_rgb((index * 0.618034) % 1.0, 0.45, 0.65)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def new_figure(
    width_in: float = PAGE_IN, height_in: float = 4.0, layout: Literal["constrained"] | None = "constrained"
) -> Figure:
    """Return an empty figure that lays itself out; without a layout its axes stay where they are put."""
    return Figure(figsize=(width_in, height_in), layout=layout)


def add_title(figure: Figure, title: str, subtitle: str = "", scale: float = 1.0) -> None:
    """Make the figure taller by a title and a lighter subtitle at its top left; long ones are broken into lines.

    Call it before drawing, at most once. Line breaks in `subtitle` are kept.

    scale: of the letters, for figures wider than a page, which print smaller.
    """
    width_in, height_in = figure.get_size_inches()
    title_pt, subtitle_pt = TITLE_PT * scale, SUBTITLE_PT * scale
    titles = textwrap.wrap(title, _letters_per_line(width_in, title_pt))
    subtitles = [
        line for part in subtitle.splitlines() for line in textwrap.wrap(part, _letters_per_line(width_in, subtitle_pt))
    ]
    title_in = len(titles) * title_pt * LINE_HEIGHT / 72
    block_in = title_in + (len(subtitles) * subtitle_pt * LINE_HEIGHT + subtitle_pt) / 72
    total_in = height_in + block_in
    figure.set_figheight(total_in)
    style: dict[str, Any] = {"ha": "left", "va": "top", "linespacing": LINE_HEIGHT}
    figure.text(0.0, 1.0, "\n".join(titles), size=title_pt, weight="bold", **style)
    figure.text(0.0, 1.0 - title_in / total_in, "\n".join(subtitles), size=subtitle_pt, color=MUTED, **style)
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(rect=(0.0, 0.0, 1.0, height_in / total_in))


def _letters_per_line(width_in: float, size_pt: float) -> int:
    return max(12, int(width_in * 72 / (0.62 * size_pt)))  # a letter of DejaVu Sans is about 0.62 of its size wide


def save_figure(figure: Figure, path: Path, dpi: int = DPI) -> None:
    """Write a PNG atomically; the same figure gives the same bytes, because no date and no software name are in it.

    The picture is cut to what is drawn, so that no long name is clipped.

    dpi: pixels per inch.
    """
    with write_atomically(path) as temporary:
        figure.savefig(
            temporary, format="png", dpi=dpi, bbox_inches="tight", pad_inches=0.06, metadata={"Software": None}
        )
