"""CSV tables, all of them: UTF-8, a header line, one row per line, no index column."""

import csv
import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cxrflow.errors import CxrflowError
from cxrflow.files import write_text


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as CSV, atomically. Floats are written with `repr`, so that reading gives back the same bits.

    Raises:
        ValueError: a row has other keys than `columns`.
    """
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, fieldnames=list(columns), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(row)
    write_text(path, buffer.getvalue())


def write_records(path: Path, record: type, records: Iterable[Any]) -> None:
    """Write instances of the flat dataclass `record` as CSV, one column per field."""
    columns = [field.name for field in dataclasses.fields(record)]
    write_table(path, columns, ({name: getattr(row, name) for name in columns} for row in records))


def read_table(path: Path, columns: Sequence[str] = ()) -> list[dict[str, str]]:
    """Read a CSV file as one dict of strings per row, and check that it has `columns`.

    Raises:
        CxrflowError: the file is missing, is not UTF-8, has none of the columns, or a row is longer than the header.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle, restkey="")
            rows = list(reader)
            header = list(reader.fieldnames or ())
    except FileNotFoundError:
        raise CxrflowError(
            f"{path} is not there: make it first (snakemake builds it when asked for it by name)"
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise CxrflowError(f"{path} is no CSV in UTF-8 ({error}): save it as 'CSV UTF-8'") from None
    missing = [name for name in columns if name not in header]
    if missing:
        raise CxrflowError(f"{path} lacks the column(s) {', '.join(missing)}; it has {', '.join(header) or 'none'}")
    for number, row in enumerate(rows, start=2):
        if "" in row and row[""] is not None and "" not in header:
            raise CxrflowError(f"{path}, line {number}: more values than the {len(header)} columns of its header")
    return rows


def read_records(path: Path, record: type) -> list[Any]:
    """Read the rows that `write_records` wrote; int and float fields are converted by the dataclass's types."""
    fields = dataclasses.fields(record)
    converters = {field.name: field.type if field.type in (int, float) else str for field in fields}
    rows = read_table(path, list(converters))
    return [record(**{name: convert(row[name]) for name, convert in converters.items()}) for row in rows]
