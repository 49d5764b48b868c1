"""NIH ChestX-ray8/14 (Wang et al. 2017), as the NIH Clinical Center and Kaggle publish it.

Reads `Data_Entry_2017.csv`, `BBox_List_2017.csv` and the lists of the published split where they are, and the names in
`images_001/images/` ... or `images/`.

The rule is applied to the table as published, before a look at which files are there, so that a partial download
selects the same images as the whole set: an image with exactly one of the six findings belongs to that class,
whatever other findings it has; an image with `No Finding` is kept when it is the first one of its patient by
follow-up number. The setting `classes` puts other findings in the place of the six. The setting `findings` keeps every
image, with all of those findings that it has.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cxrflow.config.settings import DatasetSettings
from cxrflow.data.readers.base import Candidate, Listing, escape_name, folder_names, image_names, layout_error
from cxrflow.data.readers.keys import clean_name, loose_key, quote_names, stem_key
from cxrflow.errors import CxrflowError
from cxrflow.files.records import NO_FINDINGS, RegionRow, RejectRow
from cxrflow.files.tables import open_rows, read_numbered

TABLES = ("Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv")  # the second: the NIH's corrected release
BOXES = ("BBox_List_2017.csv", "BBox_List_2017_Official_NIH.csv")  # the same list under its two names
PARTS = {"train_val_list.txt": "train", "test_list.txt": "test"}
COLUMNS = ("Image Index", "Finding Labels", "Follow-up #", "Patient ID")
METADATA = {  # what else the table may say of an image: the index's name of it, and how it is spelt
    "view": ("View Position",), "sex": ("Patient Gender", "Patient Sex"), "age_years": ("Patient Age",),
}  # fmt: skip
AGE = re.compile(r"0*(\d+)Y?")  # 58 or 058Y
FINDINGS = ("Atelectasis", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumothorax")
NO_FINDING = "No Finding"
OTHER_FINDINGS = (
    "Cardiomegaly", "Consolidation", "Edema", "Emphysema", "Fibrosis", "Hernia", "Pleural_Thickening", "Pneumonia",
)  # fmt: skip
KNOWN = (NO_FINDING, *FINDINGS, *OTHER_FINDINGS)
STUDY_CLASSES = {name: name for name in (NO_FINDING, *FINDINGS)}
FINDING = "Finding"  # with the setting `findings`, the class of an image that has one of them
PUBLISHED_PX = 1024  # boxes are given in the published files' pixels; resized copies of the set are common
BOX_LABELS = {"Infiltrate": "Infiltration"}  # the two tables name this finding differently

NONE_OF_SIX = "none of the six findings is present"
SEVERAL_OF_SIX = "more than one of the six findings is present"
NOT_FIRST = "not the patient's first No Finding image"
NOT_LISTED = "the table does not list this file"
NO_FILE = "the table lists it, and there is no such file"


@dataclass(frozen=True)
class Entry:
    """One row of the table: file name, its findings, follow-up number, patient, metadata as in the index."""

    name: str
    findings: frozenset[str]
    follow_up: int
    patient: str
    metadata: str = ""


def list_images(folder: Path, settings: DatasetSettings) -> Listing:
    """List the images that the rule selects and whose files are there, with the boxes of their own class.

    Raises:
        CxrflowError: no table, a table of other columns, or no image of it; a class that is no finding.
    """
    either = {name: name for name in (FINDING, NO_FINDING)}
    listing = Listing([], box_frame_px=PUBLISHED_PX, classes=either if settings.findings else STUDY_CLASSES)
    classes = _check_findings("classes", settings.classes) or STUDY_CLASSES
    if settings.findings:
        classes = _check_findings("findings", dict.fromkeys(settings.findings, FINDING), KNOWN[1:])
    table = _choose_file(folder, TABLES, listing.notes)
    if table is None:
        raise layout_error(folder, f"the table {TABLES[0]}")
    entries, files, parts = read_entries(table), find_files(folder, listing.notes), read_parts(folder, listing.notes)
    if not files:
        raise layout_error(folder, "images below images_001/images/ to images_012/images/, or in images/")
    labels, reasons = (label_entries(entries, classes), {}) if settings.findings else select_entries(entries, classes)
    for entry in entries:
        image_id, path = Path(entry.name).stem, files.get(entry.name)
        if path is None:
            missing = RejectRow(image_id, entry.name, labels.get(entry.name, ""), "missing", NO_FILE)
            listing.rejects.extend([missing] if entry.name in labels else [])
        elif entry.name in labels:
            source, part = path.split("/")[0] if "/" in path else "", parts.get(entry.name, "")
            ignored = "|".join(sorted(entry.findings - classes.keys() - {NO_FINDING}))
            found = "|".join(sorted(entry.findings & classes.keys())) or NO_FINDINGS if settings.findings else ""
            facts = [entry.metadata, *[f"findings={found}"] * bool(found), *[f"ignored={ignored}"] * bool(ignored)]
            metadata = " ".join(filter(None, facts))
            candidate = Candidate(image_id, path, labels[entry.name], entry.patient, source, part, metadata)
            listing.candidates.append(candidate)
        else:
            listing.rejects.append(RejectRow(image_id, path, "", "selection", reasons[entry.name]))
    strangers = sorted(files.keys() - {entry.name for entry in entries})
    listing.rejects.extend(RejectRow(Path(n).stem, files[n], "", "selection", NOT_LISTED) for n in strangers)
    near = {stem_key(name): name for name in strangers}
    unlike = [each.name for each in entries if each.name not in files and stem_key(each.name) in near]
    if unlike:
        listing.notes.append(
            f"{len(unlike):,} listed images without a file differ from one in suffix or case alone, such as"
            f" {unlike[0]!r} from {escape_name(near[stem_key(unlike[0])])!r}: rename the files, or correct the table"
        )
    boxes = _choose_file(folder, BOXES, listing.notes)
    listing.regions.extend(read_boxes(boxes, labels, files, classes) if boxes else [])
    if boxes is None:
        listing.notes.append(f"{BOXES[0]} is not there, so no image has a box")
    elif not listing.regions:
        listing.notes.append(f"no box of {boxes.name} is of an image and class that are kept")
    return listing


def _check_findings(key: str, classes: dict[str, str], known: Collection[str] = KNOWN) -> dict[str, str]:
    if unknown := [finding for finding in classes if finding not in known]:
        raise CxrflowError(f"{key}: {quote_names(unknown)} is no finding of this set; known: {', '.join(known)}")
    return classes


def _choose_file(folder: Path, names: Iterable[str], notes: list[str]) -> Path | None:
    """Return the first of these files that is there, and note which others are passed over."""
    found = [name for name in names if (folder / name).is_file()]
    if len(found) > 1:
        notes.append(f"{found[0]} is read, and {found[1]} is passed over: move the former away to read the latter")
    return folder / found[0] if found else None


def read_parts(folder: Path, notes: list[str]) -> dict[str, str]:
    """Return {file name: train or test} of the published split, from its two lists; none where a list is missing.

    Raises:
        CxrflowError: a file is in both lists.
    """
    there = [name for name in PARTS if (folder / name).is_file()]
    if len(there) < len(PARTS):
        notes.extend(f"{name} is not used without the other list of the published split" for name in there)
        return {}
    parts: dict[str, str] = {}
    for name, part in PARTS.items():
        for image in filter(None, map(clean_name, (folder / name).read_text(encoding="utf-8-sig").splitlines())):
            if parts.setdefault(image, part) != part:
                raise CxrflowError(f"{folder}: {image} is in {' and in '.join(PARTS)}; an image has one part")
    return parts


def read_entries(table: Path) -> list[Entry]:
    """Read the table.

    Raises:
        CxrflowError: a column is missing, a follow-up is not a number, a file is listed twice, an unknown finding.
    """
    entries: dict[str, Entry] = {}
    for line, row in read_numbered(table, COLUMNS):
        name, findings, follow_up, patient = (clean_name(row[column] or "") for column in COLUMNS)
        if not (name and findings and patient and follow_up.isdecimal()):
            raise CxrflowError(
                f"{table}, line {line}: expected a file name, findings, a whole number and a patient; got {row}"
            )
        if name in entries:
            raise CxrflowError(f"{table}, line {line}: {name} is listed twice; an image has one row")
        present = frozenset(map(str.strip, findings.split("|")))
        if unknown := present.difference(KNOWN):
            raise CxrflowError(f"{table}, line {line}: unknown finding {min(unknown)!r}; known: {', '.join(KNOWN)}")
        entries[name] = Entry(name, present, int(follow_up), patient, _read_metadata(row))
    return list(entries.values())


def _read_metadata(row: Mapping[str, str | None]) -> str:
    """Return view, sex, age and follow-up number as the index has them; what the table does not say is left out."""
    cells = {name: next((row[c] or "" for c in columns if c in row), "") for name, columns in METADATA.items()}
    if age := AGE.fullmatch(cells["age_years"].strip()):
        cells["age_years"] = age[1]
    cells["follow_up"] = row["Follow-up #"] or ""
    return " ".join(f"{name}={''.join(value.split())}" for name, value in cells.items() if value.strip())


def label_entries(entries: Iterable[Entry], findings: Collection[str]) -> dict[str, str]:
    """Return {file name: class} of all images: FINDING where one of the findings is present, else NO_FINDING."""
    return {each.name: NO_FINDING if each.findings.isdisjoint(findings) else FINDING for each in entries}


def select_entries(
    entries: Iterable[Entry], classes: Mapping[str, str] = STUDY_CLASSES
) -> tuple[dict[str, str], dict[str, str]]:
    """Apply the rule: return {file name: finding} of the selected ones and {file name: reason} of the others.

    classes: {finding: class name}; findings of one class count as one.
    """
    labels: dict[str, str] = {}
    reasons: dict[str, str] = {}
    healthy: dict[str, Entry] = {}  # patient -> the first No Finding image
    findings = [finding for finding in KNOWN if finding in classes and finding != NO_FINDING]
    none, several = (_name_reason(reason, findings) for reason in (NONE_OF_SIX, SEVERAL_OF_SIX))
    for entry in entries:
        present = [finding for finding in findings if finding in entry.findings]
        if len({classes[finding] for finding in present}) == 1:
            labels[entry.name] = present[0]
        elif present:
            reasons[entry.name] = several
        elif NO_FINDING not in entry.findings or NO_FINDING not in classes:
            reasons[entry.name] = none
        else:
            reasons[entry.name] = NOT_FIRST
            patient = loose_key(entry.patient)
            first = healthy.get(patient, entry)
            healthy[patient] = min(first, entry, key=lambda each: (each.follow_up, each.name))
    for entry in healthy.values():
        labels[entry.name] = NO_FINDING
        del reasons[entry.name]
    return labels, reasons


def _name_reason(reason: str, findings: Collection[str]) -> str:
    """Say `findings in classes` where the settings name others than the study's six."""
    return reason if set(findings) == set(FINDINGS) else reason.replace("the six findings", "the findings in `classes`")


def find_files(folder: Path, notes: list[str]) -> dict[str, str]:
    """Return {file name: path relative to the folder} of the images in `images*/images/`, `images*/` and the folder."""
    files: dict[str, str] = {}
    twice: list[str] = []
    parts = [name for name in folder_names(folder) if name.startswith("images")]
    for place in [p for part in parts for p in (f"{part}/images", part)] + [""]:
        for name in image_names(folder / place):
            path = f"{place}/{name}" if place else name
            twice.extend([path] if files.setdefault(clean_name(name), path) != path else [])
    if twice:
        notes.append(f"{len(twice):,} files are there twice by name, and one is read: not {escape_name(twice[0])!r}")
    return files


def read_boxes(
    path: Path, labels: dict[str, str], files: dict[str, str], classes: Mapping[str, str] = STUDY_CLASSES
) -> list[RegionRow]:
    """Read the boxes of selected images, in the pixels of the published 1024x1024 px files.

    Only boxes of the image's own class are kept: an explanation of `Mass` is not judged by a box around something else.

    Raises:
        CxrflowError: a row has no four numbers, or a finding that is not known.
    """
    regions = []
    with open_rows(path) as (_header, rows):  # not read_table: one title, `Bbox [x,y,w,h]`, stands over four columns
        for line, row in rows:
            try:
                name, finding = map(clean_name, row[:2])
                x, y, width, height = (float(value) for value in row[2:6])
            except ValueError:
                raise CxrflowError(
                    f"{path}, line {line}: expected file, finding, x, y, width, height; got {row}"
                ) from None
            finding = BOX_LABELS.get(finding, finding)
            if finding not in KNOWN:
                raise CxrflowError(f"{path}, line {line}: unknown finding {finding!r}; known: {', '.join(KNOWN)}")
            own = classes.get(labels.get(name, ""))
            if name in files and own and classes.get(finding) == own:
                regions.append(RegionRow(Path(name).stem, "lesion", x, y, width, height, ""))
    return regions
