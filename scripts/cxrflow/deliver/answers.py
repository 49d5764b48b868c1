"""Answers as a table on the screen and as CSV, line by line as they come."""

import contextlib
import csv
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from cxrflow.data.readers.base import escape_name
from cxrflow.deliver.xrays import Answer
from cxrflow.files.atomic import write_atomically

DECIMALS = 4


class AnswerTable:
    """Lines of even width; the file comes last, because its name may be long."""

    def __init__(self, class_names: list[str]) -> None:
        """Take the classes in the order of the probabilities."""
        self._class_names = class_names
        self._widths = [max(len(name), DECIMALS + 2) for name in class_names]
        self._width = max(map(len, [*class_names, "class"]))

    def header(self) -> str:
        """Return the line above the answers."""
        return self._line("class", self._class_names, "file")

    def line(self, answer: Answer) -> str:
        """Return the line of a file that was read."""
        assert answer.probabilities is not None
        predicted = self._class_names[int(answer.probabilities.argmax())]
        return self._line(predicted, [f"{p:.{DECIMALS}f}" for p in answer.probabilities], show_path(answer.path))

    def _line(self, predicted: str, values: list[str], file: str) -> str:
        cells = (f"{value:>{width}}" for value, width in zip(values, self._widths, strict=True))
        return "  ".join([f"{predicted:<{self._width}}", *cells, file])


def show_path(path: Path) -> str:
    """Return a path on one line for a terminal: what is not printable, such as a terminal's commands, is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in escape_name(str(path)))


def print_answer(table: AnswerTable, answer: Answer) -> None:
    """Print an answer to standard output, or to standard error why there is none."""
    if answer.probabilities is None:
        print(f"not read: {show_path(answer.path)}: {answer.problem}", file=sys.stderr)
    else:
        print(table.line(answer))


@contextlib.contextmanager
def open_csv(path: Path | None, class_names: list[str]) -> Iterator[Callable[[Answer], None]]:
    """Give a function that adds an answer to a CSV file, which is there when all answers are; without a path, nothing.

    Columns: file, predicted, `p(class)` for each class, problem. Files that could not be read are in it too.
    """
    if path is None:
        yield lambda answer: None
        return
    with write_atomically(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["file", "predicted", *(f"p({name})" for name in class_names), "problem"])
        yield lambda answer: writer.writerow(_row(answer, class_names))


def _row(answer: Answer, class_names: list[str]) -> list[str | float]:
    file = escape_name(str(answer.path))
    if answer.probabilities is None:
        return [file, *[""] * (1 + len(class_names)), answer.problem]
    return [file, class_names[int(answer.probabilities.argmax())], *map(float, answer.probabilities), ""]
