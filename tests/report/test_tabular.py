import re
from pathlib import Path
from typing import Any

import pytest

from cxrflow.errors import CxrflowError
from cxrflow.files.formats import KINDS
from cxrflow.report.tables import Column, Table, score
from cxrflow.report.tabular import (
    format_cell,
    format_latex,
    format_markdown,
    list_keys,
    read_table_rows,
    visible_columns,
    write_note,
    write_table_forms,
)

TABLE = Table(
    "Title",
    "Note.",
    (
        Column("name", "Name"),
        Column("f1", "F1", "score", interval=True),
        Column("seed", "Seed", "count", shown="if_varied"),
    ),
    rows="",
    empty="Nothing.",
)


def row(name: str = "a", f1: tuple[float | None, ...] = (0.812, 0.761, 0.853), seed: int = 0) -> dict[str, Any]:
    return {"name": name, "f1": f1[0], "f1_low": f1[1], "f1_high": f1[2], "seed": seed}


@pytest.mark.parametrize(
    ("f1", "text"),
    [
        ((0.812, 0.761, 0.853), "0.81 (0.76–0.85)"),
        ((None, None, None), "–"),
        ((0.812, None, None), "0.81"),
        ((0.9912, 0.9908, 0.9919), "0.9912 (0.9908–0.9919)"),  # two digits would say that it is certain
    ],
)
def test_interval_stands_in_brackets_and_what_is_missing_is_a_dash(f1: tuple[float | None, ...], text: str):
    assert format_cell(TABLE.columns[1], row(f1=f1)) == text


@pytest.mark.parametrize(
    ("n_patients", "text"),
    [(30, "0.81 (0.76–0.85)"), (29, "0.81 (0.76–0.85) ‡"), (10, "0.81 (0.76–0.85) ‡"), (9, "0.81 (too few patients)")],
)
def test_few_patients_are_marked_where_the_score_stands_and_explained_below(n_patients: int, text: str):
    ends = (0.761, 0.853) if n_patients >= 10 else (None, None)
    scores = dict(zip(score("f1", "F1").keys, (0.812, *ends, n_patients), strict=True))
    assert format_cell(score("f1", "F1"), scores) == text
    note = write_note(Table("Title", "Note.", (score("f1", "F1"),), rows=""), [scores])
    assert ("‡" in note, "Too few patients" in note) == ("‡" in text, "too few" in text)


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        # a sign unless it rounds to zero
        ("difference", {0.031: "+0.03", -0.031: "−0.03", -0.001: "0.00", 0.0: "0.00"}),
        # three significant digits
        ("amount", {0: "0", 0.21661: "0.217", 5.483: "5.48", 21.797: "21.8", 1350.4: "1,350", 0.00123: "0.00123"}),
    ],
)
def test_numbers_are_written_by_their_kind(kind: str, texts: dict[float, str]):
    assert {value: KINDS[kind].show(value) for value in texts} == texts


def test_columns_that_never_vary_are_hidden_from_people_only():
    assert [c.key for c in visible_columns(TABLE, [row(), row("b")])] == ["name", "f1"]
    assert [c.key for c in visible_columns(TABLE, [row(), row("b", seed=1)])] == ["name", "f1", "seed"]
    assert "seed" in list_keys(TABLE)


def test_csv_gives_back_the_same_bits(tmp_path: Path):
    rows = [row(f1=(1 / 3, 0.1, 0.5)), row("ü|<b>", (None, None, None), 2), row("", (0.5, None, None))]
    write_table_forms(tmp_path, "t", TABLE, rows)
    assert read_table_rows(tmp_path, "t", TABLE) == rows


def test_csv_of_other_columns_is_refused(tmp_path: Path):
    (tmp_path / "t.csv").write_text("name,f1\n")
    with pytest.raises(CxrflowError, match="f1_low"):
        read_table_rows(tmp_path, "t", TABLE)


def test_markdown_escapes_what_would_be_markup():
    text = format_markdown(TABLE, [row("a|b <script> *x*")])
    assert r"a\|b &lt;script> \*x\*" in text
    assert len({line.replace(r"\|", "").count("|") for line in text.splitlines() if line.startswith("|")}) == 1


def test_latex_escapes_and_sets_signs_that_pdflatex_lacks():
    table = Table("T 100 %", "", (Column("name", "A & B"), Column("d", "D", "difference")), rows="")
    text = format_latex(table, [{"name": "50 % of_x # $y {z} → w", "d": -0.12}])
    body = text.split("\n", 1)[1]
    assert r"A \& B" in body
    assert r"50 \% of\_x \# \$y \{z\} $\to$ w" in body
    assert "$-$0.12" in body
    assert r"\toprule" in body
    assert body.isascii()


def test_long_text_has_a_width_in_latex():
    table = Table("T", "", (Column("n", "N"), Column("why", "Why", width_cm=8), Column("k", "K", "count")), rows="")
    lines = format_latex(table, [{"n": "a", "why": "b " * 80, "k": 3}]).splitlines()
    assert lines[1] == r"\begin{tabular}{lp{8cm}r}"
    assert lines[2] == r"\toprule"


def test_latex_title_over_two_lines_stays_a_comment():
    table = Table("one\ntwo", "", (Column("name", "N"),), rows="")
    assert all(line.startswith("%") for line in format_latex(table, []).splitlines())


def test_table_without_rows_says_so():
    assert "Nothing." in format_markdown(TABLE, [])
    assert "Nothing." in format_latex(TABLE, [])
    assert not re.search(r"\\toprule|\|", format_markdown(TABLE, []) + format_latex(TABLE, []))
