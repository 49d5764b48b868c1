"""One table in four forms: raw numbers as CSV, the same numbers for people as Markdown, LaTeX and HTML cells.

Reads nothing; `write_table_forms` writes <name>.csv, <name>.md and <name>.tex into a folder.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from cxrflow.files.atomic import write_text
from cxrflow.files.formats import FEW_PATIENTS, FEW_SIGN, KINDS, MIN_PATIENTS
from cxrflow.files.tables import read_table, write_table
from cxrflow.report.tables import EXACT, Column, MetricColumns, Table, score
from cxrflow.results.metrics import METRICS

Row = Mapping[str, Any]  # column key -> str, int, float or None
NOTHING = "–"  # shown where a number is not defined


def list_columns(table: Table) -> list[Column]:
    """Return a table's columns, with those of the metrics put in."""
    return [column for part in table.columns for column in ([part] if isinstance(part, Column) else _of_metrics(part))]


def _of_metrics(part: MetricColumns) -> list[Column]:
    return [score(name, metric.title) for name, metric in METRICS.items() if metric.per_class == part.per_class]


def list_keys(table: Table) -> list[str]:
    """Return a table's CSV columns, in order."""
    return [key for column in list_columns(table) for key in column.keys]


def format_cell(column: Column, row: Row) -> str:
    """Return a row's cell as people read it: `0.81 (0.76–0.85)`; a dash where there is no value."""
    value, *ends = (row[key] for key in column.keys)
    return NOTHING if value is None else KINDS[column.kind].show_interval(value, *(ends or (None, None)))


def visible_columns(table: Table, rows: Sequence[Row]) -> list[Column]:
    """Return the columns to show to people."""
    return [column for column in list_columns(table) if _is_shown(column, {row[column.key] for row in rows})]


def _is_shown(column: Column, values: set[Any]) -> bool:
    wanted = {"always": True, "if_varied": len(values - {None}) > 1, "if_any": any(values), "never": False}
    return wanted[column.shown]


def write_note(table: Table, rows: Sequence[Row]) -> str:
    """Return what stands below a table: its note, which columns are exact, and why others have no interval."""
    sure = _explain_certainty(visible_columns(table, rows))
    return " ".join(filter(None, [table.note, *sure, *_explain_signs(table, rows)]))


def _explain_certainty(columns: Sequence[Column]) -> list[str]:
    """Return the columns without an interval, by why there is none."""
    titles: dict[bool | str, list[str]] = {}
    for column in columns:
        if column.kind != "text":
            titles.setdefault(column.interval, []).append(column.title)
    if set(titles) == {EXACT}:
        return ["Exact: every number."]
    heads = {why: "Exact" if why == EXACT else f"Without an interval ({why})" for why in titles if isinstance(why, str)}
    return [f"{head}: {'; '.join(titles[why])}." for why, head in heads.items()]


def _explain_signs(table: Table, rows: Sequence[Row]) -> list[str]:
    """Return what the signs of few patients mean that a table's cells show."""
    counts = [row[f"{c.key}_n_patients"] for c in list_columns(table) if c.patients for row in rows]
    counts = [n for n in counts if n is not None]
    few, too_few = any(MIN_PATIENTS <= n < FEW_PATIENTS for n in counts), any(n < MIN_PATIENTS for n in counts)
    return [
        f"{FEW_SIGN} It rests on fewer than {FEW_PATIENTS} patients of a class." * few,
        f"Too few patients: fewer than {MIN_PATIENTS} of a class, so that there is no interval." * too_few,
    ]


def format_markdown(table: Table, rows: Sequence[Row]) -> str:
    """Return the table as GitHub Markdown: title, table, note."""
    parts = [f"**{_escape_markdown(table.title)}**", _escape_markdown(table.empty)]
    if rows:
        parts[1:] = [_tabulate(table, rows, "pipe", _escape_markdown), _escape_markdown(write_note(table, rows))]
    return "\n\n".join(part for part in parts if part) + "\n"


def format_latex(table: Table, rows: Sequence[Row]) -> str:
    r"""Return a booktabs tabular to `\input`, with title and note as comments; needs \usepackage{booktabs}."""
    head = "".join(f"% {line}\n" for text in (table.title, write_note(table, rows)) for line in text.splitlines())
    if not rows:
        return head + f"% {table.empty}\n"
    tabular = _typeset(_tabulate(table, rows, "latex_booktabs", str))
    columns = visible_columns(table, rows)
    shape = "".join(f"p{{{c.width_cm:g}cm}}" if c.width_cm else KINDS[c.kind].align[0] for c in columns)
    rest = tabular.split("\n", 1)[1]  # tabulate knows no columns of a width
    return f"{head}\\begin{{tabular}}{{{shape}}}\n{rest}\n"


def _tabulate(table: Table, rows: Sequence[Row], form: str, escape: Callable[[str], str]) -> str:
    columns = visible_columns(table, rows)
    return tabulate(
        [[escape(format_cell(column, row)) for column in columns] for row in rows],
        headers=[escape(column.title) for column in columns],
        tablefmt=form,
        colalign=[KINDS[column.kind].align for column in columns],
        disable_numparse=True,  # the numbers are written already; tabulate would write them again
    )


def _escape_markdown(text: str) -> str:
    for character in "\\`*_|[]":
        text = text.replace(character, "\\" + character)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ")


def _typeset(latex: str) -> str:
    """Replace the signs that pdflatex has no letters for; LaTeX's own special characters are escaped by tabulate."""
    for sign, command in {"–": "--", "−": "$-$", "×": r"$\times$", "→": r"$\to$", "‡": r"\ddag{}"}.items():
        latex = latex.replace(sign, command)
    return latex


def write_table_forms(folder: Path, name: str, table: Table, rows: Sequence[Row]) -> None:
    """Write <name>.csv (raw numbers), <name>.md and <name>.tex (the same numbers, rounded) atomically."""
    write_text(folder / f"{name}.md", format_markdown(table, rows))
    write_text(folder / f"{name}.tex", format_latex(table, rows))
    write_table(folder / f"{name}.csv", list_keys(table), rows)


def read_table_rows(folder: Path, name: str, table: Table) -> list[dict[str, Any]]:
    """Read the rows that `write_table_forms` wrote, numbers as numbers and empty cells as None.

    Raises:
        CxrflowError: the CSV is missing or has other columns.
    """
    kinds = {key: KINDS[column.kind] for column in list_columns(table) for key in column.keys}
    return [
        {key: kind.read(row[key]) if row[key] != "" or kind.read is str else None for key, kind in kinds.items()}
        for row in read_table(folder / f"{name}.csv", list_keys(table))
    ]
