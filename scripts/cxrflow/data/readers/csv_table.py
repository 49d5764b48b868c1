"""A table and a folder of images: your own dataset with a few lines of YAML.

Reads the table (`table`, with `image_column`, `label_column` and maybe `patient_column`) and the names of the
images. An image is named by its path relative to the dataset's folder, or by its file name alone where that is
unique below the folder.
"""

import os
from collections import Counter, defaultdict
from pathlib import Path

from cxrflow.config.settings import DatasetSettings
from cxrflow.data.readers.base import Candidate, Listing, describe_folder, walk_images
from cxrflow.data.readers.folders import patient_finder
from cxrflow.errors import CxrflowError
from cxrflow.files.records import RejectRow
from cxrflow.files.tables import read_table


def list_images(folder: Path, settings: DatasetSettings) -> Listing:
    """List the images that the table names.

    Raises:
        CxrflowError: no table, columns missing, an image listed twice, empty or outside the folder, a class without
        images.
    """
    table = _table_path(folder, settings)
    columns = [settings.image_column, settings.label_column, *filter(None, [settings.patient_column])]
    rows = read_table(table, columns)
    files = FileFinder(folder, walk_images(folder, skip=settings.lesion_masks))
    find_patient = patient_finder(settings.patient_pattern)
    listing, missing, seen = Listing([]), 0, dict[str, int]()
    for line, row in enumerate(rows, start=2):
        where = f"{table}, line {line}"
        image, label = row[settings.image_column] or "", (row[settings.label_column] or "").strip()
        path = files.find(image, where)
        if path is not None and path in seen:
            raise CxrflowError(f"{where}: {image!r} is listed twice, first in line {seen[path]}; an image has one row")
        if settings.classes and label not in settings.classes:
            reason = f"its label {label!r} is not a class of the study" if label else "it has no label"
            listing.rejects.extend([RejectRow(path, path, "", "selection", reason)] if path else [])
        elif not label:
            raise CxrflowError(f"{where}: {image!r} has no label in the column {settings.label_column}")
        elif path is None:
            missing += 1
        else:
            patient = row[settings.patient_column] if settings.patient_column else find_patient(path)
            if not patient:
                raise CxrflowError(f"{where}: {image!r} has no patient in the column {settings.patient_column}")
            name = settings.classes.get(label, label)
            listing.candidates.append(Candidate(path, path, name, patient, source=""))
        if path is not None:
            seen[path] = line
    _check_classes(
        table, settings, listing, Counter((row[settings.label_column] or "").strip() for row in rows), missing
    )
    return Listing(listing.candidates, listing.rejects, missing, listing.regions)


def _table_path(folder: Path, settings: DatasetSettings) -> Path:
    if not settings.table:
        raise CxrflowError("reader csv needs the key `table`: the CSV file, relative to the dataset's folder")
    table = folder / settings.table
    if not table.is_file():
        raise CxrflowError(
            f"{table} does not exist: expected the dataset's table; in {folder}, {describe_folder(folder)}"
        )
    return table


def _check_classes(
    table: Path, settings: DatasetSettings, listing: Listing, labels: Counter[str], missing: int
) -> None:
    found = {each.label for each in listing.candidates}
    lacking = sorted(set(settings.classes.values()) - found)
    if lacking or not found:
        values = ", ".join(f"{label!r} ({n})" for label, n in labels.most_common(12)) or "nothing"
        raise CxrflowError(
            f"{table}: there is no image of {', '.join(lacking) or 'any class'}; the column"
            f" {settings.label_column} holds {values}, and {missing} of the listed images have no file in the dataset's"
            " folder"
        )


class FileFinder:
    """Finds the file that a table's cell names."""

    def __init__(self, folder: Path, paths: list[str]) -> None:
        """Keep every image path below the folder, and by file name."""
        self.folder = folder
        self.paths = set(paths)
        self.by_name: dict[str, list[str]] = defaultdict(list)
        for path in paths:
            self.by_name[path.rsplit("/", 1)[-1]].append(path)

    def find(self, image: str, where: str) -> str | None:
        """Return the path relative to the folder, or None if there is no such file.

        Raises:
            CxrflowError: an empty cell, a path out of the folder, or a file name that several folders hold.
        """
        image = image.strip()
        if not image:
            raise CxrflowError(f"{where}: the image's name is empty")
        path = os.path.normpath(os.path.relpath(image, self.folder) if os.path.isabs(image) else image)
        if path.startswith(".."):
            raise CxrflowError(f"{where}: {image!r} lies outside {self.folder}; give paths relative to it")
        if path in self.paths:
            return path
        matches = self.by_name.get(image, [])
        if len(matches) > 1:
            raise CxrflowError(
                f"{where}: {image!r} is in {matches[0]} and {matches[1]}; give the path relative to {self.folder}"
            )
        return matches[0] if matches else None
