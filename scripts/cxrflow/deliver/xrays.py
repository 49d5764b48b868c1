"""New X-rays on the command line: files found, and their answers printed and written to a table."""

import contextlib
import csv
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TextIO

from cxrflow.config.settings import MASKS
from cxrflow.data.readers.base import describe_others, escape_name, walk_images
from cxrflow.data.readers.selection import skip_finder
from cxrflow.deliver.overlays import prepare_maps, write_overlay
from cxrflow.deliver.tool import Answer, Tool
from cxrflow.errors import CxrflowError, escape_controls
from cxrflow.files.atomic import refuse_folder

COLUMNS = ("file", "predicted")  # of a table of answers, before those of the classes
ABSTAINS = "uncertain"  # where the tool names no class
DECIMALS = 4


def find_xrays(places: Iterable[Path], others: Counter[str] | None = None) -> Iterator[Path]:
    """Yield files as they are, and every image below folders that is not named like a mask, sorted by name.

    A folder without images is yielded itself, and so is one that cannot be opened.

    others: counts the files below folders that are no images, by suffix, and masks.
    """
    for place in places:
        if not place.is_dir():
            yield place
            continue
        closed: list[OSError] = []
        is_mask, found = skip_finder(MASKS), walk_images(place, on_closed=closed.append, others=others)
        names = [name for name in found if not is_mask(name)]
        if others is not None and len(found) > len(names):
            others["masks, by their names"] += len(found) - len(names)
        yield from (place / name for name in names)
        yield from (Path(error.filename) for error in closed)
        if not names and not closed:
            yield place


def print_answers(
    tool: Tool, places: Iterable[Path], threads: int, csv: Path | None = None, maps: Path | None = None
) -> None:
    """Print what a tool says about files and every image below folders, and write it to a table.

    threads: files decoded at once; maps: an empty folder for pictures of where the evidence lies.

    Raises:
        CxrflowError: files could not be read; the others were. Or there can be no maps.
    """
    if maps:
        prepare_maps(tool, maps)
        rows, columns = tool.grid or (0, 0)
        print(
            f"maps: {rows} x {columns} cells of each X-ray, enlarged; finer than that they show nothing",
            file=sys.stderr,
        )
    print(escape_controls(f"{tool.card.describe()}. {tool.card.notice}"), file=sys.stderr)
    if tool.calibration:
        print(escape_controls(tool.calibration.describe_prevalence()), file=sys.stderr)
    table, n_files, n_problems = AnswerTable(tool.card.class_names), 0, 0
    others: Counter[str] = Counter()
    with open_csv(csv, tool.card.class_names) as write_answer:
        print(table.header(), flush=True)
        for answer in tool.read_files(find_xrays(places, others), threads, pictures=bool(maps)):
            print_answer(table, answer)
            write_answer(answer)
            n_files += 1
            n_problems += bool(answer.problem)
            if maps:
                write_overlay(answer, maps, n_files)
    if others:
        print(f"not read: {describe_others(others)}", file=sys.stderr)
    if n_problems:
        raise CxrflowError(f"{n_problems} of {n_files} files could not be read; they are named above")


def count_cores() -> int:
    """Return the cores that this process may use, which a scheduler may have made fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class AnswerTable:
    """Lines of even width; the file comes last, because its name may be long."""

    def __init__(self, class_names: list[str]) -> None:
        """Take the classes in the order of the probabilities."""
        self._class_names = [*map(escape_controls, class_names)]
        self._widths = [max(len(name), DECIMALS + 2) for name in self._class_names]
        self._width = max(map(len, [*self._class_names, "class", ABSTAINS]))

    def header(self) -> str:
        """Return the line above the answers."""
        return self._line("class", self._class_names, "file")

    def line(self, answer: Answer) -> str:
        """Return the line of a file that was read."""
        assert answer.probabilities is not None
        predicted = ABSTAINS if answer.predicted is None else escape_controls(answer.predicted)
        return self._line(predicted, [f"{p:.{DECIMALS}f}" for p in answer.probabilities], escape_name(answer.name))

    def _line(self, predicted: str, values: list[str], file: str) -> str:
        cells = (f"{value:>{width}}" for value, width in zip(values, self._widths, strict=True))
        return "  ".join([f"{predicted:<{self._width}}", *cells, file])


def print_answer(table: AnswerTable, answer: Answer) -> None:
    """Print an answer to standard output; its warnings, or the reason why there is none, to standard error."""
    if answer.probabilities is None:
        print(f"not read: {escape_name(answer.name)}: {answer.problem}", file=sys.stderr)
        return
    print(table.line(answer))
    for warning in answer.warnings:
        print(f"warning: {escape_name(answer.name)}: {escape_controls(warning)}", file=sys.stderr)


@contextlib.contextmanager
def open_csv(path: Path | None, class_names: list[str]) -> Iterator[Callable[[Answer], None]]:
    """Give a function that adds an answer to a CSV file at once, so that Ctrl-C keeps it; without a path, nothing.

    Columns: file, predicted (empty where the tool abstains), `p(class)` for each class, warnings, problem. Files that
    could not be read are included.

    Raises:
        CxrflowError: the path is a folder, a file of something else, or another process writes to it.
    """
    if path is None:
        yield lambda answer: None
        return
    try:
        with open_answers(path) as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow([*COLUMNS, *(f"p({name})" for name in class_names), "warnings", "problem"])
            yield lambda answer: writer.writerow(_row(answer, class_names))
    except OSError as error:
        error.filename = error.filename or str(path)  # a failed write names no file
        raise


@contextlib.contextmanager
def open_answers(path: Path) -> Iterator[TextIO]:
    """Open a file for answers, written line by line: a new one, an older table of answers, emptied, or a device.

    Raises:
        CxrflowError: a folder, a file of something else, or one that another process writes to.
    """
    refuse_folder(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", buffering=1, newline="", encoding="utf-8") as handle:
        if path.is_file():
            if os.path.samestat(os.fstat(handle.fileno()), os.fstat(1)):  # /dev/stdout, which leads to a file
                _append_output()
            else:
                _empty_answers(path, handle)
        yield handle


def _append_output() -> None:
    """Let the lines for a person and those of the table go by turns into one file."""
    import fcntl  # here: Windows has neither this nor /dev/stdout

    fcntl.fcntl(1, fcntl.F_SETFL, fcntl.fcntl(1, fcntl.F_GETFL) | os.O_APPEND)


def _empty_answers(path: Path, handle: TextIO) -> None:
    start = ",".join(COLUMNS).encode()
    with path.open("rb") as before:
        if before.read(len(start)) not in (b"", start):
            raise CxrflowError(f"{path} is there and holds no answers, so it is not overwritten: name another file")
    with contextlib.suppress(ImportError, OSError):  # Windows and some file systems have no such locks
        import fcntl

        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CxrflowError(f"another process writes its answers to {path}: name another file") from None
    handle.truncate(0)


def _row(answer: Answer, class_names: list[str]) -> list[str | float]:
    file = escape_name(answer.name)
    if file.startswith(tuple("=+-@")):  # a spreadsheet would take it for a formula
        file = f"./{file}"
    if answer.probabilities is None:
        return [file, *[""] * (2 + len(class_names)), answer.problem]
    return [file, answer.predicted or "", *map(float, answer.probabilities), "; ".join(answer.warnings), ""]
