"""Every stage of the growth table runs at a tiny size, and what the table says follows from its points. No times."""

import sys
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from cxrflow.data.splitting import join_groups
from cxrflow.files.records import IndexRow
from cxrflow.files.tables import read_records
from tests.benchmarks import growth
from tests.benchmarks.growth import Point, choose_sizes, describe_point, fit_exponent, measure_point
from tests.benchmarks.growth_figure import draw_growth
from tests.benchmarks.growth_inputs import draw_keys, write_files, write_rows

POINTS = [Point("split", n, "images", n * 1e-5, 20.0) for n in (1000, 2000, 10_000)]


@pytest.mark.parametrize("stage", growth.STAGES)
def test_a_stage_is_measured(stage: str) -> None:
    n = growth.MODELS if stage == "dry run" else 100
    point = measure_point(stage, n)
    assert (point.stage, point.n) == (stage, n)
    assert point.cpu_s > 0
    assert point.peak_mib > 1


def test_keys_are_like_those_of_a_published_set(tmp_path: Path) -> None:
    rows = read_records(write_rows(tmp_path / "index.csv", 5000), IndexRow)
    per_patient = Counter(row.patient_id for row in rows)
    assert 3 < len(rows) / len(per_patient) < 4.5
    assert max(per_patient.values()) > 15
    twins = [n for n in Counter(row.pixel_sha256 for row in rows).values() if n > 1]
    assert twins == [2] * 100
    assert len(set(join_groups(rows))) < len(per_patient)
    assert len({(row.pixel_sha256, row.label) for row in rows}) == len({row.pixel_sha256 for row in rows})


def test_files_are_as_many_and_as_different_as_the_rows(tmp_path: Path) -> None:
    films = [path.read_bytes() for path in write_files(tmp_path / "films", 100).rglob("*.png")]
    assert len(films) == 100
    assert len(set(films)) == 98
    assert list(draw_keys(100)) == list(draw_keys(100))


def test_growth_is_the_slope_between_sizes_that_are_far_apart() -> None:
    assert fit_exponent(10, 3.0, 1000, 30_000.0) == pytest.approx(2)
    assert describe_point(POINTS, POINTS[0])[-3:] == ["", "", ""]
    assert describe_point(POINTS, POINTS[1])[-3:] == ["", "", ""]
    assert describe_point(POINTS, POINTS[2]) == [
        "split", "10,000 images", "0.100", "0.0100", "20", "1.00", "1.12", "0.00",
    ]  # fmt: skip


def test_points_are_kept_and_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []

    def measure(stage: str, n: int) -> Point:
        measured.append((stage, n))
        return Point(stage, n, "images", 1.0, 10.0)

    monkeypatch.setattr(growth, "measure_point", measure)
    growth.measure_points(["split"], "20,10", tmp_path / "points.json")
    points = growth.measure_points(["index", "split"], "10", tmp_path / "points.json")
    assert measured == [("split", 20), ("split", 10), ("index", 10)]
    assert [(point.stage, point.n) for point in points] == [("index", 10), ("split", 10), ("split", 20)]


def test_sizes_are_named_or_given() -> None:
    stage = growth.STAGES["index"]
    assert choose_sizes(stage, "usual") == stage.usual
    assert choose_sizes(stage, "all")[-1] > stage.usual[-1]
    assert choose_sizes(stage, "10,20") == (10, 20)


def test_a_stage_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["growth", "--stages", "split,train"])
    with pytest.raises(SystemExit):
        growth.main()
    assert "train is no stage; known: index, split" in capsys.readouterr().err


def test_the_plot_is_small_and_has_every_stage(tmp_path: Path) -> None:
    draw_growth([*POINTS, Point("dry run", 12, "models", 2.0, 90.0)], tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size < 100_000
    with Image.open(tmp_path / "growth.png") as image:
        assert image.width > image.height > 100
