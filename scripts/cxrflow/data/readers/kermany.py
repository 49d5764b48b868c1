"""Paediatric pneumonia X-rays of Kermany, Zhang and Goldbaum 2018, in both public packagings.

Reads names below `chest_xray/{train,val,test}/{NORMAL,PNEUMONIA}/`; class and patient are in the file name:

    person123_bacteria_4.jpeg, person123_virus_2.jpeg    Kaggle chest-xray-pneumonia: person, kind, running number
    IM-0115-0001.jpeg, NORMAL2-IM-0382-0001-0002.jpeg    the same set: series, patient, image numbers
    BACTERIA-7422-0001.jpeg, VIRUS-..., NORMAL-...       Mendeley Data and its copies: kind, patient, image number

What counts as one patient. Splitting one patient in two leaks; joining two only makes a group larger. Seen in 5,840
images of the Kaggle packaging:

- Numbers run on from train to test within `bacteria`, within `virus`, within `IM` and within `NORMAL2-IM`: none of
  4,082 is in both parts. So the part is no part of the patient: nothing is joined as published, and a patient stays
  whole in copies of the set that moved files between the parts.
- `bacteria` and `virus` are two independent lists: from 400 to 1,799 they share 744 numbers, and 739 would be
  expected by chance. Equal numbers look no more alike than neighbouring ones either (mean correlation at 24x24 px
  0.719 against 0.725; two X-rays of one bacterial person 0.753). The same holds for `IM` and `NORMAL2-IM` (0.750
  against 0.755). So kind and series are part of the patient.
- All 30 groups of identical files lie within one such patient or between neighbours (NORMAL2-IM-0095 and -0096); those
  are joined by their pixels in the split.
- Mendeley's numbers go into the millions for fewer than 6,000 images, over all kinds, so an equal number is no
  accident: the number alone is the patient.
"""

import re
from pathlib import Path

from cxrflow.config.settings import DatasetSettings
from cxrflow.data.readers.base import Candidate, Listing, image_names, layout_error, relative_path
from cxrflow.files.records import RejectRow

# The outermost comes first: Kaggle's archive holds a second copy of everything in chest_xray/chest_xray/.
ROOTS = ("", "chest_xray", "chest_xray/chest_xray", "CellData/chest_xray", "ZhangLabData/CellData/chest_xray")
PARTS = ("train", "val", "test")
LABELS = {"bacteria": "bacterial", "virus": "viral", "normal": "normal"}

PERSON = re.compile(r"person(\d+)_(bacteria|virus)_\d+", re.IGNORECASE)
SERIES = re.compile(r"(?:(NORMAL2)-)?IM-(\d+)-\d+", re.IGNORECASE)
MENDELEY = re.compile(r"(BACTERIA|VIRUS|NORMAL)-(\d+)-\d+", re.IGNORECASE)


def list_images(folder: Path, settings: DatasetSettings) -> Listing:
    """List bacterial, viral and normal X-rays of every part.

    Raises:
        CxrflowError: no part with a NORMAL or PNEUMONIA folder.
    """
    root = _find_root(folder)
    listing = Listing([], classes=dict(zip(LABELS.values(), LABELS.values(), strict=True)))
    for part in PARTS:
        for kind in ("NORMAL", "PNEUMONIA"):
            for name in image_names(root / part / kind):
                _add_image(listing, relative_path(root / part / kind, folder, name), part, kind)
    return listing


def _find_root(folder: Path) -> Path:
    for name in ROOTS:
        if any((folder / name / part / kind).is_dir() for part in PARTS for kind in ("NORMAL", "PNEUMONIA")):
            return folder / name
    raise layout_error(folder, "chest_xray/ with train/ and test/, and NORMAL/ and PNEUMONIA/ in each")


def _add_image(listing: Listing, path: str, part: str, kind: str) -> None:
    stem = Path(path).stem
    image_id = f"{part}/{stem}"  # some copies of the set repeat a stem in another part
    parsed = parse_name(stem)
    if parsed is None:
        reason = "the file name carries no class and patient as in the published set"
        listing.rejects.append(RejectRow(image_id, path, "", "selection", reason))
    elif (parsed[0] == "normal") != (kind == "NORMAL"):
        reason = "the file name and the folder name different classes"
        listing.rejects.append(RejectRow(image_id, path, "", "selection", reason))
    else:
        listing.candidates.append(Candidate(image_id, path, parsed[0], parsed[1], part, part))


def parse_name(stem: str) -> tuple[str, str] | None:
    """Return (class name, patient_id) of a published file name without its suffix; None for any other name."""
    if match := PERSON.match(stem):
        return LABELS[match[2].lower()], f"{match[2].lower()}-{int(match[1])}"
    if match := SERIES.match(stem):
        return "normal", f"{'NORMAL2-' if match[1] else ''}IM-{int(match[2])}"
    if match := MENDELEY.match(stem):
        return LABELS[match[1].lower()], match[2]
    return None
