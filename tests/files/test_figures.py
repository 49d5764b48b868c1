"""The one look of all figures."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import matplotlib
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from cxrflow.config import backbones
from cxrflow.config.backbones import BACKBONES
from cxrflow.files import figures as style


def draw_something(title: str = "A title") -> Figure:
    figure = style.new_figure(4.0, 2.0)
    style.add_title(figure, title, "one line\nanother")
    figure.subplots().plot([0, 1], [0, 1], label="a class called $x$")
    return figure


def test_a_figure_drawn_twice_has_the_same_bytes_and_names_no_software_and_no_date(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        style.save_figure(draw_something(), tmp_path / name)
    data = (tmp_path / "a.png").read_bytes()
    assert data == (tmp_path / "b.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert not any(chunk in data for chunk in (b"tEXt", b"iTXt", b"zTXt", b"tIME"))


def test_a_figure_that_fails_to_draw_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"old")
    with pytest.raises(ValueError, match="dpi must be positive"):
        style.save_figure(draw_something(), tmp_path / "a.png", dpi=-1)
    assert (tmp_path / "a.png").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_users_matplotlibrc_changes_nothing_and_pyplot_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text("axes.facecolor: red\nbackend: TkAgg\n")
    code = (
        "import sys, matplotlib, cxrflow.files.figures\n"
        "print(matplotlib.rcParams['axes.facecolor'], matplotlib.get_backend(), 'matplotlib.pyplot' in sys.modules)"
    )
    environment = {"MPLCONFIGDIR": str(tmp_path), "PYTHONPATH": str(Path(style.__file__).parents[2]), "PATH": ""}
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert shown.stdout.lower().split() == ["white", "agg", "false"]


def luminance(color: str) -> float:
    """Return the relative luminance of WCAG 2.1, 0 to 1."""
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_classes_keep_their_colours_and_differ() -> None:
    colors = [style.class_color(index) for index in range(40)]
    assert colors == [style.class_color(index) for index in range(40)]
    assert len(set(colors)) == 40
    for color in colors:
        to_rgb(color)
    assert all(luminance(color) < 0.55 for color in colors[:7])  # seen on white paper


def test_every_backbone_has_its_own_colour_and_marker() -> None:
    colors = [backbones.backbone_color(name) for name in BACKBONES]
    markers = [backbones.backbone_marker(name) for name in BACKBONES]
    assert len(set(colors)) == len(set(markers)) == min(len(BACKBONES), len(backbones.BACKBONE_COLORS))
    assert not set(colors) & {style.class_color(index) for index in range(12)}
    with pytest.raises(ValueError, match="not in list"):
        backbones.backbone_color("no_backbone")


def test_a_long_title_is_broken_into_lines_that_fit_and_do_not_overlap() -> None:
    figure = draw_something(
        "NIH ChestX-ray14, EfficientNet-B1, transferred from COVID-19 Radiography, no class weights"
    )
    figure.draw_without_rendering()
    title, subtitle = (text.get_window_extent() for text in figure.texts)
    assert "\n" in figure.texts[0].get_text()
    assert title.x1 <= figure.bbox.x1
    assert title.y1 <= figure.bbox.y1 + 1
    tops = [title.y0, subtitle.y1, subtitle.y0, figure.axes[0].get_tightbbox().y1]
    assert all(upper >= lower - 1 for upper, lower in pairwise(tops))


def test_names_are_shown_as_they_are() -> None:
    assert matplotlib.rcParams["text.parse_math"] is False
