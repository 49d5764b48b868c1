"""CSV tables, all of them: UTF-8, a header line, one row per line, no index column."""

import contextlib
import csv
import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, TextIO

from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import MISSING, check_unchanged, write_atomically

SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}  # what other programs write instead of commas


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as CSV, atomically. Floats are written with `repr`, so that reading gives back the same bits.

    Raises:
        ValueError: a row has other keys than `columns`.
    """
    with _open_atomically(path) as handle:
        writer = csv.DictWriter(handle, fieldnames=list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_records(path: Path, record: type, records: Iterable[Any]) -> None:
    """Write instances of the flat dataclass `record` as CSV, one column per field."""
    columns = [field.name for field in dataclasses.fields(record)]
    values = attrgetter(*columns) if len(columns) > 1 else lambda row: (getattr(row, columns[0]),)
    with _open_atomically(path) as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(map(values, records))


@contextlib.contextmanager
def _open_atomically(path: Path) -> Iterator[TextIO]:
    """Give a file that becomes `path` when the block ends; row by row, because a table may have a million of them."""
    with write_atomically(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        yield handle


def read_table(path: Path, columns: Sequence[str] = ()) -> list[dict[str, str]]:
    """Read a CSV file as one dict of strings per row, and check that it has `columns`.

    What a row lacks at its end is None; blank lines are passed over.

    Raises:
        CxrflowError: the file is missing, was changed since it was made, is not UTF-8, lacks a column or has one twice,
        or a row is longer than the header.
    """
    return [row for _, row in read_numbered(path, columns)]


def read_numbered(path: Path, columns: Sequence[str] = ()) -> list[tuple[int, dict[str, str]]]:
    """Read a CSV file as `read_table` does, each row with the number of its line in the file, for messages."""
    with open_rows(path, columns) as (header, rows):
        return [(line, dict(zip(header, values, strict=True))) for line, values in _fit_rows(path, header, rows)]


def read_records(path: Path, record: type) -> list[Any]:
    """Read the rows that `write_records` wrote; int and float fields are converted by the dataclass's types.

    The last column may be missing where it has a default: the file was written before there was one.

    Raises:
        CxrflowError: as `read_table`, or a row is shorter than the header.
    """
    fields = dataclasses.fields(record)
    needed = fields[: len(fields) - (fields[-1].default is not dataclasses.MISSING)]
    with open_rows(path, [field.name for field in needed]) as (header, rows):
        fields = fields if fields[-1].name in header else needed
        numbers = [(place, field.type) for place, field in enumerate(fields) if field.type in (int, float)]
        places = [header.index(field.name) for field in fields]
        return [record(*_convert(values, places, numbers)) for values in _whole_rows(path, header, rows)]


def _convert(values: list[str], places: list[int], numbers: list[tuple[int, Any]]) -> list[Any]:
    chosen: list[Any] = [values[place] for place in places]
    for place, convert in numbers:
        chosen[place] = convert(chosen[place])
    return chosen


@contextlib.contextmanager
def open_rows(path: Path, columns: Sequence[str] = ()) -> Iterator[tuple[list[str], Iterator[tuple[int, list[str]]]]]:
    """Give a CSV file's header and its rows with their line numbers, blank lines left out, not all of them at once.

    Raises:
        CxrflowError: as `read_table`, but for long rows.
    """
    try:
        check_unchanged(path)
        with path.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.reader(handle, strict=True)  # a quote that is never closed would swallow rows
            header = [name.strip() for name in next(reader, [])]
            _check_header(path, header, columns)
            yield header, ((reader.line_num, values) for values in reader if any(map(str.strip, values)))
    except FileNotFoundError:
        raise CxrflowError(MISSING.format(path)) from None
    except csv.Error as error:
        raise CxrflowError(
            f'{path} is not a whole CSV file ({error}): look for a quote (") that is never closed, or is no'
            " cell's first or last sign"
        ) from None
    except UnicodeDecodeError as error:
        raise CxrflowError(f"{path} is not a CSV file in UTF-8 ({error}): save it as 'CSV UTF-8'") from None


def _check_header(path: Path, header: list[str], columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in header]
    if missing:
        separator = next((sign for sign in SEPARATORS if len(header) == 1 and sign in header[0]), None)
        remedy = f"; {SEPARATORS[separator]} separate its columns: save it with commas" if separator else ""
        raise CxrflowError(
            f"{path} lacks the column(s) {', '.join(missing)}; it has {', '.join(header) or 'none'}{remedy}"
        )
    twice = [name for name, n in Counter(header).items() if n > 1 and name and name in (columns or header)]
    if twice:
        raise CxrflowError(
            f"{path} has the column(s) {', '.join(twice)} more than once, and which one counts is not known: rename or"
            " remove the others"
        )


def _fit_rows(path: Path, header: list[str], rows: Iterable[tuple[int, list[str]]]) -> Iterator[tuple[int, list[Any]]]:
    """Pass rows on, short ones filled with None; a nameless column, as pandas writes, may stand over several values."""
    for line, values in rows:
        if len(values) > len(header) and "" not in header:
            raise CxrflowError(f"{path}, line {line}: more values than the {len(header)} columns of its header")
        lacking = len(header) - len(values)
        yield line, values if lacking == 0 else [*values[: len(header)], *[None] * lacking]


def _whole_rows(path: Path, header: list[str], rows: Iterable[tuple[int, list[str]]]) -> Iterator[list[str]]:
    for line, values in _fit_rows(path, header, rows):
        if values and values[-1] is None:
            raise CxrflowError(
                f"{path}, line {line}: fewer values than the {len(header)} columns of its header: the file was cut"
                " off or edited; delete it and run its stage again"
            )
        yield values
