"""Write the tables and the page of a study of images that may have several findings.

Reads the indexes and splits, and each model's training.json and metrics.json.
"""

from collections.abc import Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from cxrflow.checks.cautions_images import known_weaknesses, patients
from cxrflow.checks.registry import run_check
from cxrflow.checks.verdicts import PASS
from cxrflow.compare.collect import Results
from cxrflow.compare.findings import say_comparable
from cxrflow.files.formats import count_words
from cxrflow.report.findings import FINDING_TABLES
from cxrflow.report.manifest import Block, Section
from cxrflow.report.page import describe_terms, fill_template, lay_out
from cxrflow.report.tabular import write_table_forms
from cxrflow.results.families import ALPHA

LEFT_OUT = (
    "An image has none, one or several of these findings; No Finding is none of them. The models have one sigmoid per"
    " finding and are trained on the binary cross entropy of each, without weights. Left out by design, because they"
    " are of one class per image: macro F1, the choice of a model, the paper's claims and the other checks,"
    " calibration, delivery and the scores of explanations."
)


def write_finding_summary(folder: Path, results: Results, provenance: Mapping[str, Any]) -> str:
    """Write FINDING_TABLES into a folder, and return the page as HTML."""
    rows = {name: resolve_name(table.rows)(results) for name, table in FINDING_TABLES.items()}
    for name, table in FINDING_TABLES.items():
        write_table_forms(folder, name, table, rows[name])
    verdicts = [run_check(each, results, ALPHA) for each in (patients, known_weaknesses)]
    tested = " and ".join(f"{d.patients['test']:,} of {d.title}" for d in results.datasets.values())
    return fill_template(
        results,
        provenance=provenance,
        overview=f"{count_words(len(results.models), 'model')} of findings, tested on patients: {tested}. {LEFT_OUT}",
        above_thumbnail="",
        chosen=[],
        cautions=[each for each in verdicts if each["level"] != PASS],
        sections=(
            Section("data", "Data", (Block("table", "datasets"),)),
            Section("results", "Results", tuple(Block("table", name) for name in ("finding_models", "findings"))),
            Section("published", "Beside published figures", (
                Block("prose", text=say_comparable(results)), Block("table", "published_auroc"),
            )),
            Section("provenance", "Provenance", (Block("provenance"),)),
            Section("citing", "Citing and terms", (Block("terms"),)),
        ),
        searches=[],
        datasets=[describe_terms(results, name) for name in results.datasets],
        tables={name: lay_out(table, rows[name]) for name, table in FINDING_TABLES.items()},
        figures={},
        checks=[],
    )  # fmt: skip
