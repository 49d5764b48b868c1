"""Every row of FAULTS.md has tests that exist."""

import ast
import functools
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROWS = [line for line in (TESTS / "FAULTS.md").read_text(encoding="utf-8").splitlines() if re.match(r"\| \d", line)]


@functools.cache
def defined_in(file: str) -> set[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split(" | ")[1])
def test_a_fault_is_held_by_tests_that_exist(row: str) -> None:
    *_, cell = row.strip("| ").split(" | ")
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", cell)
    assert named, f"no test is named: {cell}"
    assert [f"{file}::{name}" for file, name in named if name not in defined_in(file)] == []


def test_every_number_has_a_row_in_order() -> None:
    numbers = [int(row.split()[1]) for row in ROWS]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(1, 27))
