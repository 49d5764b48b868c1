"""A table and a folder of images: your own dataset with a few lines of YAML.

Reads the table (`table`, with `image_column`, `label_column` and maybe `patient_column` and `split_column`) and the
names of the images. An image is named by its path relative to the dataset's folder, or by its file name alone where
that is unique below the folder.
"""

import difflib
import os
from collections import defaultdict
from pathlib import Path, PureWindowsPath

from cxrflow.config.settings import DatasetSettings
from cxrflow.data.readers.base import Candidate, Listing, describe_folder, escape_name, walk_dataset
from cxrflow.data.readers.keys import clean_name, is_blank, part_of
from cxrflow.data.readers.selection import skip_finder, skipped_row
from cxrflow.errors import CxrflowError
from cxrflow.files.records import RejectRow
from cxrflow.files.tables import read_numbered

NOT_LISTED = "the table does not list this file"
NO_FILE = "the table lists it, and there is no such file"


def list_images(folder: Path, settings: DatasetSettings) -> Listing:
    """List the images that the table names.

    Raises:
        CxrflowError: no table, columns missing, or a row whose image is listed twice, empty, ambiguous or outside the
        folder, or which has no patient or label.
    """
    table = _table_path(folder, settings)
    optional = [settings.patient_column, settings.split_column]
    rows = read_numbered(table, [settings.image_column, settings.label_column, *filter(None, optional)])
    listing, find_skip = Listing([]), skip_finder(settings.skip)
    paths = walk_dataset(folder, settings.lesion_masks, listing.notes)
    files = FileFinder(folder, [path for path in paths if not find_skip(path)])
    skipped = FileFinder(folder, [path for path in paths if find_skip(path)])
    listing.rejects.extend(skipped_row(path, find_skip(path)) for path in sorted(skipped.paths))
    seen: dict[str, int] = {}
    missing: list[tuple[int, str]] = []
    for line, row in rows:
        where, image = f"{table}, line {line}", row[settings.image_column] or ""
        path = files.find(image, where)
        if path is None and skipped.find(image, where):
            continue
        if path is None:
            missing.append((line, image))
            label = clean_name(row[settings.label_column] or "")
            listing.rejects.append(RejectRow(image, image, label, "missing", NO_FILE))
            continue
        if path in seen:
            raise CxrflowError(f"{where}: {image!r} is listed twice, first in line {seen[path]}; an image has one row")
        seen[path] = line
        listing.candidates.append(_read_row(path, row, settings, where))
    unlisted = sorted(files.paths.difference(seen))
    listing.rejects.extend(RejectRow(path, path, "", "selection", NOT_LISTED) for path in unlisted)
    listing.notes.extend(files.describe_missing(missing))
    return listing


def _table_path(folder: Path, settings: DatasetSettings) -> Path:
    if not settings.table:
        raise CxrflowError("reader csv needs the key `table`: the CSV file, relative to the dataset's folder")
    table = folder / settings.table
    if not table.is_file():
        raise CxrflowError(
            f"{table} does not exist: expected the dataset's table; in {folder}, {describe_folder(folder)}"
        )
    return table


def _read_row(path: str, row: dict[str, str], settings: DatasetSettings, where: str) -> Candidate:
    label = clean_name(row[settings.label_column] or "")
    if not label and not settings.classes:
        raise CxrflowError(
            f"{where}: {path!r} has no label in the column {settings.label_column}: fill it, or write `classes`, which"
            " leaves out rows of any other label"
        )
    patient = row[settings.patient_column] or "" if settings.patient_column else ""
    if settings.patient_column and is_blank(patient):
        raise CxrflowError(f"{where}: {path!r} has no patient in the column {settings.patient_column}: {patient!r}")
    cell = row[settings.split_column] or "" if settings.split_column else ""
    part = part_of(cell)
    if settings.split_column and not part and not is_blank(cell):
        raise CxrflowError(f"{where}: {cell!r} in the column {settings.split_column} is none of train, val and test")
    return Candidate(path, path, label, patient, "", part)


class FileFinder:
    """Finds the file that a table's cell names."""

    def __init__(self, folder: Path, paths: list[str]) -> None:
        """Keep every image path below the folder, by its clean form and by that of its file name."""
        self.folder = folder
        self.paths = set(paths)
        self.by_form: dict[str, list[str]] = defaultdict(list)
        for path in paths:
            for form in {clean_name(path), clean_name(path.rsplit("/", 1)[-1])}:
                self.by_form[form].append(path)

    def find(self, image: str, where: str) -> str | None:
        """Return the path relative to the folder, or None if there is no such file.

        Raises:
            CxrflowError: an empty cell, a path out of the folder, or a file name that several folders hold.
        """
        image = image.strip()
        if not image:
            raise CxrflowError(f"{where}: the image's name is empty")
        path = os.path.normpath(os.path.relpath(image, self.folder) if os.path.isabs(image) else image)
        if path in self.paths:
            return path
        path = os.path.normpath(path.replace("\\", "/"))
        if path.startswith(".."):
            raise CxrflowError(f"{where}: {image!r} lies outside {self.folder}; give paths relative to it")
        matches = self.by_form.get(clean_name(path), [])
        if len(matches) > 1:
            raise CxrflowError(
                f"{where}: {image!r} is in {matches[0]} and {matches[1]}; give the path relative to {self.folder}"
            )
        return matches[0] if matches else None

    def describe_missing(self, missing: list[tuple[int, str]]) -> list[str]:
        """Return a note on the cells (line, image) without a file, with the first of them and its nearest file."""
        if not missing:
            return []
        line, image = missing[0]
        near = self.find_nearest(image)
        hint = f"; the nearest file is {escape_name(near)!r}, where {tell_apart(image, near)}" if near else ""
        return [f"the first listed image without a file is {image!r} in line {line}{hint}"]

    def find_nearest(self, image: str) -> str:
        """Return the file whose name is most like the cell's; empty: none is."""
        stems: dict[str, list[str]] = defaultdict(list)
        for path in sorted(self.paths):
            stems[Path(path).stem.casefold()].append(path)
        name = PureWindowsPath(image.strip()).name.casefold()  # splits at both slashes
        stem = name if name in stems else PureWindowsPath(name).stem
        close = [stem] if stem in stems else difflib.get_close_matches(stem, stems, n=1)
        return stems[close[0]][0] if close else ""


def tell_apart(image: str, path: str) -> str:
    """Say what tells a cell from the path of a file."""
    cell = PureWindowsPath(image.strip())
    file = PureWindowsPath(path)
    folders = cell.parent.relative_to(cell.anchor).parts  # none: a file name alone would do
    differing = [
        name
        for name, one, other in (
            ("the drive", cell.drive, file.drive),
            ("the folder", folders or file.parent.parts, file.parent.parts),
            ("the name", cell.stem.casefold(), file.stem.casefold()),
            ("the case", cell.stem, file.stem if cell.stem.casefold() == file.stem.casefold() else cell.stem),
            ("the suffix", cell.suffix, file.suffix),
        )
        if one != other
    ]
    return f"{' and '.join(differing) or 'nothing'} {'differ' if len(differing) > 1 else 'differs'}"
