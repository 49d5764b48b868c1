"""The page: one self-contained HTML file of everything in a study, to read, print and send.

Reads results/<study>/summary, the pictures of data and models, and the scores that its first screen shows; writes
nothing. All text passes through Jinja's autoescape; style.css is put inside; pictures are data URIs; nothing is loaded
from anywhere.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from cxrflow.checks.cautions_shortcuts import summarize_gate
from cxrflow.checks.verdicts import ERROR, FAIL, PASS, UNKNOWN, WARN, write_estimate
from cxrflow.compare.backbones import describe_standing
from cxrflow.compare.baselines import count_above_thumbnail
from cxrflow.compare.choice import describe_chosen
from cxrflow.compare.collect import ModelResult, Results
from cxrflow.compare.rows import describe_study, metric_columns
from cxrflow.config.readers import READERS
from cxrflow.config.settings import TuneSettings
from cxrflow.config.study import ModelId
from cxrflow.files.atomic import read_json
from cxrflow.files.formats import KINDS
from cxrflow.report.manifest import FIGURES, PROVENANCE, SECTIONS, TABLES
from cxrflow.report.pictures import embed_chart, embed_gallery
from cxrflow.report.tables import Column, Table, numbers, score
from cxrflow.report.tabular import Row, format_cell, read_table_rows, visible_columns, write_note

TEMPLATES = Path(__file__).parent / "templates"
SIGNS = {PASS: "✓", WARN: "!", FAIL: "✗", UNKNOWN: "?", ERROR: "✗"}  # a level is never shown by colour alone


def render_page(results: Results, summary: Path) -> str:
    """Return the page as HTML.

    Raises:
        CxrflowError: a table of the summary or a picture is missing.
    """
    rows = {name: read_table_rows(summary, name, table) for name, table in TABLES.items()}
    provenance, searches = read_json(summary / PROVENANCE), describe_searches(results)
    return fill_template(
        results,
        overview=describe_study(results),
        above_thumbnail=count_above_thumbnail(rows["models"]),
        chosen=[
            {
                **card,
                "gate": summarize_gate(rows["shortcuts"], card["dataset"]),
                "standing": describe_standing(rows["standings"], rows["backbones_paired"], card["dataset"]),
            }
            for card in (describe_chosen(results, name) for name in results.datasets)
        ],
        cautions=[row for row in rows["checks"] if row["kind"] == "caution" and row["level"] != PASS],
        sections=[section for section in SECTIONS if searches or section.id != "tuning"],
        searches=searches,
        datasets=[describe_dataset(results, name, rows["per_class"]) for name in results.datasets],
        tables={name: lay_out(table, rows[name]) for name, table in TABLES.items()},
        figures={
            name: {
                "is_shown": not f.of or bool(rows[f.of]),
                "title": f.title,
                "caption": f.note,
                "picture": embed_chart(summary / f"{name}.png", f.alt),
            }
            for name, f in FIGURES.items()
        },
        checks=[{**row, "sign": SIGNS[row["level"]]} for row in rows["checks"]],
        provenance=provenance,
    )


def fill_template(results: Results, *, provenance: Mapping[str, Any], **more: Any) -> str:
    """Return the template as HTML, filled with what every page has, and more."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(estimate=write_estimate, score=KINDS["score"].show)
    return environment.get_template("report.html.j2").render(
        css=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),  # our own file, nothing of a user's in it
        study=results.study.settings.study,
        synthetic=results.study.settings.phantoms is not None,
        provenance=provenance,
        config=yaml.safe_dump(provenance["config"], sort_keys=False, allow_unicode=True),
        **more,
    )


TRIALS = Table(
    "Trials",
    "The value is macro F1 on validation of the epoch that would be kept. Every trial is here, the failed ones too.",
    (
        *numbers(trial="Trial", generation="Generation", epochs="Epochs"),
        Column("value", "Validation macro F1", "score", "of one training, on the images that chose the settings"),
        Column("parameters", "Settings"),
        Column("error", "Failed by", shown="if_any"),
    ),
    "",
)


def describe_searches(results: Results) -> list[dict[str, Any]]:
    """Return what the page shows of each finished search for better settings."""
    layout, searches = results.layout, results.study.searches().items()
    return [describe_search(results, name, tune) for name, tune in searches if layout.tuned(name).exists()]


def describe_search(results: Results, name: str, tune: TuneSettings) -> dict[str, Any]:
    """Return what the page shows of one search: what it did, its picture, and a row for every trial."""
    best = read_json(results.layout.tuned(name))
    rows = [{**row, "parameters": _say_parameters(row["parameters"])} for row in best["trials"]]
    n_last = sum(row["epochs"] == tune.rungs[-1] for row in rows)
    is_trained = any(model.id.variant == name for model in results.models)
    model = ModelId(tune.dataset, tune.backbone, tune.init, name, tune.seed)
    return {
        "id": f"search-{name}",
        "title": results.study.model_title(model),
        "text": (
            f"{len(rows)} trials ({tune.sampler}), {n_last} of them to {tune.rungs[-1]} epochs,"
            f" {sum(bool(row['error']) for row in rows)} failed. Found: {_say_parameters(best['parameters'])}; macro F1"
            f" on validation in the search {best['value']:.3f}."
            + " It is not trained anew yet: run the same command again."
            * (not is_trained)
        ),
        "picture": embed_chart(results.layout.tuning_picture(name), f"Course, importance and settings of {name}"),
        "caption": (
            "Left: runs in the order in which they were asked. Right: by fANOVA over the trials, which is a hint where"
            " they are few. Below: one line per trial, the darker the higher its last value; the thickest was chosen."
        ),
        "table": lay_out(TRIALS, rows),
    }


def _say_parameters(parameters: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in parameters.items()
    )


def describe_dataset(results: Results, name: str, per_class: Sequence[Row]) -> dict[str, Any]:
    """Return what the page shows of one dataset: pictures of the data, and each base model in detail."""
    dataset = results.datasets[name]
    data = results.layout.recipe(name, results.study.recipe())
    return {
        "id": f"dataset-{list(results.datasets).index(name) + 1}",
        **describe_terms(results, name),
        "samples": embed_gallery(data / "samples.png", f"Sample X-rays of {dataset.title}, a row per class"),
        "before_after": embed_gallery(
            data / "before_after.png", f"X-rays of {dataset.title} before and after preprocessing"
        ),
        "models": [describe_model(results, m, per_class) for m in results.select(results.base_models, dataset=name)],
    }


def describe_terms(results: Results, name: str) -> dict[str, Any]:
    """Return a dataset's title, and what to cite for it under which terms."""
    return {
        "title": results.datasets[name].title,
        "citation": results.study.settings.datasets[name].citation,
        "terms": "" if results.study.settings.phantoms else READERS[results.reader_of(name)].terms,
    }


def describe_model(results: Results, model: ModelResult, per_class: Sequence[Row]) -> dict[str, Any]:
    """Return what the page shows of one model: scores by class, confusion matrix, t-SNE, Grad-CAM."""
    title = results.study.model_title(model.id)
    rows = [row for row in per_class if row["model"] == model.id.path]
    return {
        "title": title,
        "short": results.short_title(model),
        "score": format_cell(SCORE, metric_columns(model.metrics, per_class=False)),
        "kept": f"epoch {model.epoch_kept} of {len(model.history)}",
        "per_class": lay_out(TABLES["per_class"], rows, without=IDENTITY),
        "confusion": embed_chart(model.folder / "confusion.png", f"Confusion matrix, {title}"),
        "tsne": embed_chart(model.folder / "tsne.png", f"t-SNE of the test features, {title}"),
        "gradcam": embed_gallery(model.folder / "gradcam.png", f"Maps laid over test images, {title}"),
    }


SCORE = score("macro_f1", "Macro F1")
DENSE_COLUMNS = 8  # a table with more is set in smaller letters
SHORT_LETTERS = 26
LONG_ROWS = 40  # a longer table is folded away
IDENTITY = ("dataset", "backbone", "init", "variant", "seed")  # the heading says them


def lay_out(table: Table, rows: Sequence[Row], without: Sequence[str] = ()) -> dict[str, Any]:
    """Return a table as the template shows it: headings, then groups of rows with their cells as text.

    Where the first column repeats from row to row, it becomes the heading of a group instead, which leaves more room.
    """
    columns = [c for c in visible_columns(table, rows) if c.key not in without]
    lines = [[format_cell(column, row) for column in columns] for row in rows]
    grouped = len(columns) > 2 and any(one[0] == other[0] for one, other in pairwise(lines))
    shown = columns[1:] if grouped else columns
    aligns = [KINDS[column.kind].align for column in shown]
    return {
        "title": table.title,
        "note": write_note(table, rows),
        "empty": table.empty,
        "said": resolve_name(table.says)(rows) if table.says and rows else "",
        "dense": len(shown) > DENSE_COLUMNS,
        "n_rows": len(lines),
        "folded": len(lines) > LONG_ROWS,
        "heads": [{"text": column.title, "align": align} for column, align in zip(shown, aligns, strict=True)],
        "groups": [
            {
                "title": title if grouped else "",
                "rows": [_cells(line[1:] if grouped else line, aligns) for line in members],
            }
            for title, members in groupby(lines, key=lambda line: line[0] if grouped else "")
        ],
    }


def _cells(line: Sequence[str], aligns: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row's cells; short text is kept on one line."""
    return [
        {"text": text, "align": align, "css": f"{align} {'short' if len(text) <= SHORT_LETTERS else 'long'}"}
        for text, align in zip(line, aligns, strict=True)
    ]
