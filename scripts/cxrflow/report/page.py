"""The page: one self-contained HTML file of everything in a study, to read, print and send.

Reads results/<study>/summary and the pictures of data and models; writes nothing. All text passes through Jinja's
autoescape; style.css is put inside; pictures are data URIs; nothing is loaded from anywhere.
"""

from collections.abc import Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from cxrflow.checks.verdicts import ERROR, FAIL, PASS, UNKNOWN, WARN, join_words, write_estimate
from cxrflow.compare.collect import ModelResult, Results, group_seeds
from cxrflow.compare.paired import describe_model as name_model
from cxrflow.compare.paired import score_models
from cxrflow.compare.rows import identify
from cxrflow.config.readers import READERS
from cxrflow.config.study import SCRATCH, ModelId
from cxrflow.files.atomic import read_json
from cxrflow.files.formats import KINDS
from cxrflow.report.manifest import FIGURES, PROVENANCE, SECTIONS, TABLES
from cxrflow.report.pictures import embed_chart, embed_gallery
from cxrflow.report.tables import Column, Table
from cxrflow.report.tabular import Row, format_cell, read_table_rows, visible_columns

TEMPLATES = Path(__file__).parent / "templates"
SIGNS = {PASS: "✓", WARN: "!", FAIL: "✗", UNKNOWN: "?", ERROR: "✗"}  # a level is never shown by colour alone


def render_page(results: Results, summary: Path) -> str:
    """Return the page as HTML.

    Raises:
        CxrflowError: a table of the summary or a picture is missing.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    rows = {name: read_table_rows(summary, name, table) for name, table in TABLES.items()}
    provenance = read_json(summary / PROVENANCE)
    return environment.get_template("report.html.j2").render(
        css=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),  # our own file, nothing of a user's in it
        study=results.study.settings.study,
        synthetic=results.study.settings.phantoms is not None,
        overview=describe_study(results),
        above_chance=count_above_chance(results),
        chosen=[chosen_model(results, name) for name in results.datasets],
        cautions=[row for row in rows["checks"] if row["kind"] == "caution" and row["level"] != PASS],
        sections=SECTIONS,
        datasets=[describe_dataset(results, name, rows["per_class"]) for name in results.datasets],
        tables={name: lay_out(table, rows[name]) for name, table in TABLES.items()},
        figures={
            name: {"title": f.title, "caption": f.note, "picture": embed_chart(summary / f"{name}.png", f.alt)}
            for name, f in FIGURES.items()
        },
        checks=[{**row, "sign": SIGNS[row["level"]]} for row in rows["checks"]],
        provenance=provenance,
        config=yaml.safe_dump(provenance["config"], sort_keys=False, allow_unicode=True),
    )


def describe_study(results: Results) -> str:
    """Return one sentence: how many models of what."""
    base = results.base_models
    scratch = [model for model in base if model.id.init == SCRATCH]
    counts = {
        "from scratch": len(scratch),
        "by transfer": len(base) - len(scratch),
        "as variants of the settings": len(results.models) - len(base),
    }
    parts = join_words([f"{count} {how}" for how, count in counts.items() if count])
    return (
        f"{_count(results.models, 'model')}: {_count(results.profiles, 'backbone')} on"
        f" {_count(results.datasets, 'dataset')}; {parts}."
    )


def _count(things: Any, noun: str) -> str:
    return f"{len(things)} {noun}{'s' * (len(things) != 1)}"


def count_above_chance(results: Results) -> str:
    """Return one sentence: how many models score above chance, judged by their intervals."""
    known = [m for m in results.models if m.metrics["macro_f1"]["low"] is not None]
    above = [m for m in known if m.metrics["macro_f1"]["low"] > m.metrics["chance_macro_f1"]]
    if not known:
        return "Without intervals, whether a model scores above chance cannot be determined."
    everyone = len(above) == len(results.models)
    who = f"All {len(above)} models score" if everyone else f"{len(above)} of {len(results.models)} models score"
    if len(results.models) == 1:
        who = "It scores" if above else "It does not score"
    return f"{who} above chance by {'its' if len(results.models) == 1 else 'their'} 95 % interval."


def chosen_model(results: Results, dataset: str) -> dict[str, Any]:
    """Return the model of a dataset that was chosen on validation images, with its test score and chance."""
    title, path = results.dataset_title(dataset), results.selection[dataset]["chosen"]
    members = group_seeds(results.base_models).get(ModelId.parse(path)) if path else None
    if not members or any(model.macro_f1 is None for model in members):
        return {"dataset": title, "estimate": None}
    estimate, metrics = score_models(results, members), members[0].metrics
    seeds = f", mean of {len(members)} seeds" if len(members) > 1 else ""
    return {
        "dataset": title,
        "model": f"{name_model(results, members[0].id)}{seeds}",
        "estimate": estimate,
        "score": write_estimate(estimate),
        "chance": metrics["chance_macro_f1"],
        "chance_text": KINDS["score"].show(metrics["chance_macro_f1"]),
        "n_classes": len(metrics["class_names"]),
        "n_rivals": len(results.selection[dataset]["candidates"]),
    }


def describe_dataset(results: Results, name: str, per_class: Sequence[Row]) -> dict[str, Any]:
    """Return what the page shows of one dataset: pictures of the data, and each base model in detail."""
    dataset = results.datasets[name]
    data = results.layout.recipe(name, results.study.recipe())
    return {
        "id": f"dataset-{list(results.datasets).index(name) + 1}",
        "title": dataset.title,
        "citation": results.study.settings.datasets[name].citation,
        "terms": "" if results.study.settings.phantoms else READERS[results.reader_of(name)].terms,
        "samples": embed_gallery(data / "samples.png", f"Sample X-rays of {dataset.title}, a row per class"),
        "before_after": embed_gallery(
            data / "before_after.png", f"X-rays of {dataset.title} before and after preprocessing"
        ),
        "models": [describe_model(results, m, per_class) for m in results.select(results.base_models, dataset=name)],
    }


def describe_model(results: Results, model: ModelResult, per_class: Sequence[Row]) -> dict[str, Any]:
    """Return what the page shows of one model: scores by class, confusion matrix, t-SNE, Grad-CAM."""
    title = results.study.model_title(model.id)
    words = identify(results, model)
    seed = f", seed {model.id.seed}" if len({m.id.seed for m in results.base_models}) > 1 else ""
    score = {"macro_f1": None, "macro_f1_low": None, "macro_f1_high": None}
    score.update({f"macro_f1{end}": model.metrics["macro_f1"][key] for end, key in ENDS.items()})
    rows = [row for row in per_class if row["model"] == model.id.path]
    return {
        "title": title,
        "short": f"{words['backbone']}, {words['init']}{seed}",
        "score": format_cell(SCORE, score),
        "kept": f"epoch {model.epoch_kept} of {len(model.history)}",
        "per_class": lay_out(TABLES["per_class"], rows, without=IDENTITY),
        "confusion": embed_chart(model.folder / "confusion.png", f"Confusion matrix, {title}"),
        "tsne": embed_chart(model.folder / "tsne.png", f"t-SNE of the test features, {title}"),
        "gradcam": embed_gallery(model.folder / "gradcam.png", f"Grad-CAM overlays of test images, {title}"),
    }


ENDS = {"": "value", "_low": "low", "_high": "high"}
SCORE = Column("macro_f1", "Macro F1", "score", interval=True)
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
        "note": table.note,
        "empty": table.empty,
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
        {"text": text, "align": align, "css": align + " short" * (len(text) <= SHORT_LETTERS)}
        for text, align in zip(line, aligns, strict=True)
    ]
