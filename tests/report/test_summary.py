"""Walks the lists of tables and figures: whatever is in them is written, for whole and for strange studies."""

from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxrflow.compare.baselines import count_above_thumbnail, scored_rows
from cxrflow.compare.collect import Results
from cxrflow.compare.rows import model_rows, per_class_rows
from cxrflow.config.layout import ModelId
from cxrflow.files.formats import MIN_PATIENTS
from cxrflow.report.figures_models import break_line, restart_epochs, row_shares
from cxrflow.report.figures_scores import draw_f1, pareto_front
from cxrflow.report.manifest import FIGURES, MODULES, SUMMARY_FILES, TABLES, caption_of
from cxrflow.report.page import render_page
from cxrflow.report.tables import EXACT
from cxrflow.report.tabular import (
    format_cell,
    list_columns,
    list_keys,
    read_table_rows,
    visible_columns,
    write_note,
    write_table_forms,
)
from cxrflow.results.metrics import METRICS, Metric, accuracy, recall
from tests.compare.fake_study import ONE_MODEL, FakeStudy, collect_fake
from tests.report.conftest import summarize


def test_exactly_the_promised_files_are_written(summary: Path):
    assert sorted(path.name for path in summary.iterdir()) == sorted(SUMMARY_FILES)


@pytest.mark.parametrize("name", TABLES)
def test_forms_of_a_table_agree(summary: Path, name: str):
    table = TABLES[name]
    rows = read_table_rows(summary, name, table)
    markdown, latex = ((summary / f"{name}.{form}").read_text(encoding="utf-8") for form in ("md", "tex"))
    markdown = markdown.replace("&lt;", "<")
    for command, sign in {
        "$-$": "−",
        "--": "–",
        r"$\to$": "→",
        r"\ddag{}": "‡",
        r"\ensuremath{<}": "<",
        "\\": "",
    }.items():
        latex = latex.replace(command, sign)
    for row in rows:
        numbers = [format_cell(c, row) for c in visible_columns(table, rows) if c.kind != "text"]
        for text in (markdown, latex):
            lines = [line for line in text.splitlines() if all(number in line for number in numbers)]
            assert lines, f"no line has {numbers}"


@pytest.mark.parametrize("name", TABLES)
def test_tables_speak_to_people(name: str):
    table = TABLES[name]
    assert table.title.startswith("Table ")
    assert len(set(list_keys(table))) == len(list_keys(table))
    assert all(column.title[0].isupper() or column.title.startswith("s ") for column in list_columns(table))
    assert table.empty.endswith(".")


@pytest.mark.parametrize("name", TABLES)
def test_every_number_has_an_interval_or_the_word_exact_or_the_reason_why_there_is_none(summary: Path, name: str):
    table, below = TABLES[name], (summary / f"{name}.md").read_text(encoding="utf-8").rpartition("|")[2]
    rows = read_table_rows(summary, name, table)
    assert {column.key for column in list_columns(table) if column.kind != "text" and not column.interval} == set()
    for column in visible_columns(table, rows) if rows else []:
        if column.interval is True:
            bare = [row for row in rows if row[column.key] is not None and row[f"{column.key}_low"] is None]
            assert all(row.get(f"{column.key}_n_patients", MIN_PATIENTS) < MIN_PATIENTS for row in bare), column.key
        elif column.kind != "text":
            assert column.title in below or below.endswith("Exact: every number.\n")
            assert ("Exact:" if column.interval == EXACT else column.interval) in below


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_drawn(summary: Path, name: str):
    with Image.open(summary / f"{name}.png") as image:
        assert min(image.size) > 400
        assert len(image.convert("L").getcolors(256)) > 20


def test_figure_drawn_again_has_the_same_bytes(summary: Path, results: Results, tmp_path: Path):
    draw_f1(results, tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (summary / "f1.png").read_bytes()


def undefined(model: ModelId, metrics: dict[str, Any]) -> None:
    """A model of which nothing is defined, as when a class has no test image."""
    for key in ("macro_f1", "accuracy", "macro_auroc"):
        metrics[key] = {"value": None, "low": None, "high": None, "n_patients": 0}
    for scores in metrics["per_class"].values():
        for key in ("f1", "precision", "recall", "auroc"):
            scores[key] = {"value": None, "low": None, "high": None, "n_patients": 0}


STRANGE = {
    "one epoch of one model, no intervals": FakeStudy(
        config={**ONE_MODEL, "train": {"epochs": 1}, "score": {"bootstrap_resamples": 0}}, regions=False
    ),
    "nothing defined": FakeStudy(config=ONE_MODEL, edit_metrics=undefined),
}


@pytest.mark.parametrize("case", STRANGE)
def test_strange_studies_have_the_same_files(tmp_path: Path, case: str):
    results = collect_fake(tmp_path, STRANGE[case])
    summarize(results)
    assert sorted(path.name for path in (tmp_path / "summary").iterdir()) == sorted(SUMMARY_FILES)
    assert "nan" not in (tmp_path / "summary" / "models.csv").read_text().lower()
    for name, table in TABLES.items():
        if not read_table_rows(tmp_path / "summary", name, table):
            assert table.empty.split(":")[0][:20] in (tmp_path / "summary" / f"{name}.md").read_text(encoding="utf-8")


def test_variants_and_seeds_are_shown_where_there_are_several(tmp_path: Path, ablated: Results, summary: Path):
    write_table_forms(tmp_path, "models", TABLES["models"], scored_rows(ablated))
    for heading in ("| Variant", "| Seed"):
        assert heading in (tmp_path / "models.md").read_text(encoding="utf-8").replace("   ", " ")
        assert heading not in (summary / "models.md").read_text(encoding="utf-8")


def test_a_new_metric_is_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One of all classes and one of each class: in metrics.json, Tables 3 and 6, their CSV, and the page."""
    monkeypatch.setitem(METRICS, "error", Metric("Error rate", False, lambda sample: 1 - accuracy(sample)))
    monkeypatch.setitem(METRICS, "miss", Metric("Miss rate", True, lambda sample: 1 - recall(sample)))
    results = collect_fake(tmp_path, FakeStudy(config=ONE_MODEL, pictures=(60, 40)))
    folder = summarize(results)
    for table, key, title in (("models", "error", "Error rate"), ("per_class", "miss", "Miss rate")):
        row = read_table_rows(folder, table, TABLES[table])[0]
        assert 0 <= row[f"{key}_low"] <= row[key] <= row[f"{key}_high"] < 1
        assert f"{title} (95 % interval)" in (folder / f"{table}.md").read_text(encoding="utf-8")
        assert f">{title} (95 % interval)</th>" in render_page(results, folder)


def test_a_class_of_few_patients_is_counted_beside_its_scores_and_has_no_interval(tmp_path: Path):
    """The least class decides over the means too: that the dataset has many patients does not help."""
    results = collect_fake(tmp_path, FakeStudy(config={**ONE_MODEL, "score": {"bootstrap_resamples": 50}}, least=20))
    (small,) = [row for row in per_class_rows(results) if row["class"] == "Viral Pneumonia"]
    columns = {column.key: column for column in list_columns(TABLES["per_class"])}
    shown = {key: format_cell(columns[key], small) for key in ("support", "n_patients", "recall")}
    assert (int(shown["support"]), int(shown["n_patients"])) == (small["support"], small["n_patients"])
    assert small["n_patients"] < MIN_PATIENTS
    of_mean = format_cell(list_columns(TABLES["models"])[5], model_rows(results)[0])
    assert all(text.endswith(" (too few patients)") for text in (shown["recall"], of_mean))
    assert f"fewer than {MIN_PATIENTS} " in write_note(TABLES["per_class"], [small])
    assert "none of 1 model scores above" in count_above_thumbnail(scored_rows(results))


def test_restarts_are_the_first_epochs_of_later_cycles(results: Results):
    assert restart_epochs(results.models[0]) == [11, 21]


def test_pareto_front_keeps_what_no_other_beats():
    assert pareto_front([(3, 0.9), (1, 0.5), (2, 0.4), (2.5, 0.7), (3, 0.8)]) == [(1, 0.5), (2.5, 0.7), (3, 0.9)]
    assert pareto_front([]) == []


def test_matrix_row_without_images_stays_empty():
    shares = row_shares(np.array([[3, 1], [0, 0]]))
    assert shares.tolist() == [[0.75, 0.25], [0, 0]]


def test_matrices_are_set_in_lines_of_equal_length(results: Results):
    assert [len(line) for line in break_line(results.models[:6])] == [3, 3]
    assert [len(line) for line in break_line(results.models[:4])] == [4]
    assert [len(line) for line in break_line(results.models[:9])] == [3, 3, 3]
    assert break_line([]) == []


@pytest.mark.parametrize("name", [*TABLES, *FIGURES])
def test_everything_has_a_function_and_a_caption_for_snakemakes_report(name: str):
    entry = {**TABLES, **FIGURES}[name]
    named = entry.rows if name in TABLES else entry.draw
    assert callable(resolve_name(named))
    assert named.partition(":")[0] in MODULES
    assert caption_of(name)["note"].endswith(".")
    assert not set("{}") & set("".join(caption_of(name).values()))  # Snakemake would look for a wildcard
