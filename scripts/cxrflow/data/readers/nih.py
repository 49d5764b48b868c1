"""NIH ChestX-ray8/14 (Wang et al. 2017), as the NIH Clinical Center and Kaggle publish it.

Reads `Data_Entry_2017.csv`, `BBox_List_2017.csv` where it is, and the names in `images_001/images/` ... or `images/`.

The rule is applied to the table as published, before a look at which files are there, so that a partial download
selects the same images as the whole set: an image with exactly one of the six findings belongs to that class,
whatever other findings it has; an image with `No Finding` is kept when it is the first one of its patient by
follow-up number.
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cxrflow.config.settings import DatasetSettings
from cxrflow.data.readers.base import Candidate, Listing, folder_names, image_names, layout_error
from cxrflow.errors import CxrflowError
from cxrflow.files.records import RegionRow, RejectRow
from cxrflow.files.tables import read_table

TABLES = ("Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv")  # the second: the NIH's corrected release
BOXES = "BBox_List_2017.csv"
COLUMNS = ("Image Index", "Finding Labels", "Follow-up #", "Patient ID")
FINDINGS = ("Atelectasis", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumothorax")
NO_FINDING = "No Finding"
OTHER_FINDINGS = (
    "Cardiomegaly", "Consolidation", "Edema", "Emphysema", "Fibrosis", "Hernia", "Pleural_Thickening", "Pneumonia",
)  # fmt: skip
KNOWN = (NO_FINDING, *FINDINGS, *OTHER_FINDINGS)
PUBLISHED_PX = 1024  # boxes are given in the published files' pixels; resized copies of the set are common
BOX_LABELS = {"Infiltrate": "Infiltration"}  # the two tables name this finding differently

NONE_OF_SIX = "none of the six findings is present"
SEVERAL_OF_SIX = "more than one of the six findings is present"
NOT_FIRST = "not the patient's first No Finding image"
NOT_LISTED = "the table does not list this file"


@dataclass(frozen=True)
class Entry:
    """One row of the table: file name, its findings, follow-up number, patient."""

    name: str
    findings: frozenset[str]
    follow_up: int
    patient: str


def list_images(folder: Path, settings: DatasetSettings) -> Listing:
    """List the images that the rule selects and whose files are there, with the boxes of their own class.

    Raises:
        CxrflowError: no table, a table of other columns, or no image of it.
    """
    table = _find_table(folder)
    entries = read_entries(table)
    files = find_files(folder)
    if not files:
        raise layout_error(folder, "images below images_001/images/ to images_012/images/, or in images/")
    labels, reasons = select_entries(entries)
    missing = sum(name not in files for name in labels)
    listing = Listing([], listed_missing=missing, box_frame_px=PUBLISHED_PX)
    for entry in entries:
        image_id, path = Path(entry.name).stem, files.get(entry.name)
        if path is None:
            continue
        if entry.name in labels:
            source = path.split("/")[0] if "/" in path else ""
            listing.candidates.append(Candidate(image_id, path, labels[entry.name], entry.patient, source))
        else:
            listing.rejects.append(RejectRow(image_id, path, "", "selection", reasons[entry.name]))
    listed = {entry.name for entry in entries}
    strangers = sorted(name for name in files if name not in listed)
    listing.rejects.extend(RejectRow(Path(n).stem, files[n], "", "selection", NOT_LISTED) for n in strangers)
    listing.regions.extend(read_boxes(folder / BOXES, labels, files))
    return listing


def _find_table(folder: Path) -> Path:
    for name in TABLES:
        if (folder / name).is_file():
            return folder / name
    raise layout_error(folder, f"the table {TABLES[0]}")


def read_entries(table: Path) -> list[Entry]:
    """Read the table.

    Raises:
        CxrflowError: a column is missing, a follow-up is not a number, a file is listed twice, an unknown finding.
    """
    entries: dict[str, Entry] = {}
    for line, row in enumerate(read_table(table, COLUMNS), start=2):
        name, findings, follow_up, patient = (row[column] for column in COLUMNS)
        if not (name and findings and patient and follow_up and follow_up.isdecimal()):
            raise CxrflowError(
                f"{table}, line {line}: expected a file name, findings, a whole number and a patient; got {row}"
            )
        if name in entries:
            raise CxrflowError(f"{table}, line {line}: {name} is listed twice; an image has one row")
        if unknown := set(findings.split("|")).difference(KNOWN):
            raise CxrflowError(f"{table}, line {line}: unknown finding {min(unknown)!r}; known: {', '.join(KNOWN)}")
        entries[name] = Entry(name, frozenset(findings.split("|")), int(follow_up), patient)
    return list(entries.values())


def select_entries(entries: Iterable[Entry]) -> tuple[dict[str, str], dict[str, str]]:
    """Apply the study's rule: return {file name: class} of the selected ones and {file name: reason} of the others."""
    labels: dict[str, str] = {}
    reasons: dict[str, str] = {}
    healthy: dict[str, Entry] = {}  # patient -> the first No Finding image
    for entry in entries:
        present = entry.findings.intersection(FINDINGS)
        if len(present) == 1:
            (labels[entry.name],) = present
        elif present:
            reasons[entry.name] = SEVERAL_OF_SIX
        elif NO_FINDING not in entry.findings:
            reasons[entry.name] = NONE_OF_SIX
        else:
            reasons[entry.name] = NOT_FIRST
            first = healthy.get(entry.patient, entry)
            healthy[entry.patient] = min(first, entry, key=lambda each: (each.follow_up, each.name))
    for entry in healthy.values():
        labels[entry.name] = NO_FINDING
        del reasons[entry.name]
    return labels, reasons


def find_files(folder: Path) -> dict[str, str]:
    """Return {file name: path relative to the folder} of the images in `images*/images/`, `images*/` and the folder."""
    files: dict[str, str] = {}
    parts = [name for name in folder_names(folder) if name.startswith("images")]
    for place in [p for part in parts for p in (f"{part}/images", part)] + [""]:
        for name in image_names(folder / place):
            files.setdefault(name, f"{place}/{name}" if place else name)
    return files


def read_boxes(path: Path, labels: dict[str, str], files: dict[str, str]) -> list[RegionRow]:
    """Read the boxes of selected images, in the pixels of the published 1024x1024 px files.

    Only boxes of the image's own class are kept: an explanation of `Mass` is not judged by a box around something else.

    Raises:
        CxrflowError: a row has no four numbers.
    """
    if not path.is_file():
        return []
    regions = []
    with path.open(newline="", encoding="utf-8-sig") as handle:
        rows = csv.reader(handle)  # not read_table: one title, `Bbox [x,y,w,h]`, stands over four columns
        next(rows, None)
        for line, row in enumerate(rows, start=2):
            try:
                name, finding = row[:2]
                x, y, width, height = (float(value) for value in row[2:6])
            except ValueError:
                raise CxrflowError(
                    f"{path}, line {line}: expected file, finding, x, y, width, height; got {row}"
                ) from None
            if name in files and labels.get(name) == BOX_LABELS.get(finding, finding):
                regions.append(RegionRow(Path(name).stem, "lesion", x, y, width, height, ""))
    return regions
