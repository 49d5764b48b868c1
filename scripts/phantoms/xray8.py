"""Lay out phantoms as the NIH publishes ChestX-ray14: a table of findings, one of boxes, numbered folders.

The table also lists what the study's rule drops, and files that do not exist, as after a partial download.
"""

import csv
import dataclasses
import io
from collections import Counter
from dataclasses import dataclass

import numpy as np

from cxrflow.config.settings import PhantomSettings
from phantoms.render import Boxes, Fate, Form, ImageTask, PhantomSet, lesion_path, make_rng, patient_body, scale_side

XRAY8 = "xray8"
PUBLISHED_PX = 1024
NO_FINDING = "No Finding"
FINDINGS = {  # the six findings of the study, and their signs
    "Atelectasis": "atelectasis",
    "Effusion": "effusion",
    "Infiltration": "infiltration",
    "Mass": "mass",
    "Nodule": "nodule",
    "Pneumothorax": "pneumothorax",
}
OTHERS = ("Cardiomegaly", "Emphysema", "Fibrosis", "Pleural_Thickening")  # only the first is visible
ENTRY_TABLE, BOX_TABLE = "Data_Entry_2017.csv", "BBox_List_2017.csv"
ENTRY_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"
BOX_LABELS = {"Infiltration": "Infiltrate"}  # the box table's name of it
BOXED_SHARE = 0.5  # published: under 1 %; here enough to score explanations on
COMBINED_SHARE = 0.15  # finding images that also have one of OTHERS, which the rule ignores
DETECTORS = ((2500, 2048, 0.168), (2048, 2500, 0.171), (2992, 2991, 0.143))  # width, height, mm per pixel


@dataclass
class Event:
    """One image of a patient before it has a name: its findings and what becomes of it."""

    findings: str
    fate: Fate
    form: Form = Form.GRAY
    copies_first: bool = False  # the same bytes as the first image with these findings


@dataclass(frozen=True)
class Entry:
    """One row of the table of findings; `task` is None where the file is absent."""

    name: str
    findings: str
    follow_up: int
    patient: int
    task: ImageTask | None


def plan_xray8(settings: PhantomSettings) -> PhantomSet:
    """Plan the seven classes, what the rule drops, this dataset's defects, and the two tables."""
    rng = make_rng(settings.seed, XRAY8, "plan")
    count = settings.count_of(XRAY8)
    rows = _make_rows(_make_patients(count, rng), settings, rng)
    tasks = [row.task for row in rows if row.task is not None]
    return PhantomSet(
        tasks=tasks,
        absent=dict(Counter(row.findings for row in rows if row.task is None)),
        tables=(ENTRY_TABLE, BOX_TABLE),
        write_tables=lambda boxes: (_entry_table(rows, settings), _box_table(rows, boxes)),
    )


def _make_patients(count: int, rng: np.random.Generator) -> list[list[Event]]:
    """Return the images of every patient by follow-up; absent files come last, as later archives would hold them."""
    patients: list[list[Event]] = [[] for _ in range(4 * count)]
    for patient in patients[:count]:  # the rule keeps the first No Finding image of each of these
        later = int(rng.integers(1, 3)) if rng.random() < 0.3 else 0
        patient += [Event(NO_FINDING, Fate.KEPT)] + [Event(NO_FINDING, Fate.DROPPED) for _ in range(later)]
    for event in [*_kept_findings(count, rng), *_dropped_findings(count, rng)]:
        patient = patients[int(rng.integers(len(patients)))]
        patient.insert(int(rng.integers(len(patient) + 1)), event)
    alone = [
        Event("Mass", Fate.KEPT, copies_first=True),
        Event("Infiltration", Fate.UNREADABLE, Form.EMPTY),
        Event("Effusion", Fate.UNREADABLE, Form.HTML),
    ]
    patients += [[event] for event in alone]
    patients = [patients[i] for i in rng.permutation(len(patients)) if patients[i]]
    absent = [*FINDINGS, NO_FINDING] * max(1, count // 25)
    return patients + [[Event(findings, Fate.ABSENT)] for findings in absent]


def _kept_findings(count: int, rng: np.random.Generator) -> list[Event]:
    """Return `count` images of each finding (of Mass one less, as a copy is added), some with another finding."""
    events = []
    for finding in FINDINGS:
        for _ in range(count - (finding == "Mass")):
            combined = rng.random() < COMBINED_SHARE
            names = sorted([finding, str(rng.choice(OTHERS))]) if combined else [finding]
            events.append(Event("|".join(names), Fate.KEPT))
    for index, form in ((3, Form.RGBA), (count + 4, Form.RGBA), (2 * count + 5, Form.DEEP_12)):
        events[index].form = form
    return events


def _dropped_findings(count: int, rng: np.random.Generator) -> list[Event]:
    """Return images with two of the six findings, and with others only."""
    pairs = [sorted(rng.choice(list(FINDINGS), 2, replace=False).tolist()) for _ in range(max(4, count // 5))]
    others = [OTHERS[i % len(OTHERS)] for i in range(max(2, count // 20))]
    return [Event("|".join(names), Fate.DROPPED) for names in pairs] + [Event(name, Fate.DROPPED) for name in others]


def _make_rows(patients: list[list[Event]], settings: PhantomSettings, rng: np.random.Generator) -> list[Entry]:
    """Name every image: patients numbered with gaps, follow-ups from 0; the second half lies in images_002."""
    rows: list[Entry] = []
    firsts: dict[str, ImageTask] = {}
    patient_id = 0
    for order, patient in enumerate(patients):
        patient_id += int(rng.integers(1, 4))
        folder = "images_001" if order < len(patients) // 2 else "images_002"
        for follow_up, event in enumerate(patient):
            name = f"{patient_id:08d}_{follow_up:03d}.png"
            task = _task(
                event, f"{folder}/images/{name}", patient_id, len(rows), settings, boxed=rng.random() < BOXED_SHARE
            )
            if task is not None and task.fate == Fate.KEPT and not event.copies_first:
                firsts.setdefault(event.findings, task)
            rows.append(Entry(name, event.findings, follow_up, patient_id, task))
    return [
        dataclasses.replace(row, task=firsts[row.findings].copied_to(row.task))
        if row.task and row.task.copy_of
        else row
        for row in rows
    ]


def _task(
    event: Event, path: str, patient: int, number: int, settings: PhantomSettings, boxed: bool
) -> ImageTask | None:
    if event.fate == Fate.ABSENT:
        return None
    side = scale_side(PUBLISHED_PX, settings.size_scale)
    names = event.findings.split("|")
    signs = tuple(FINDINGS[name] for name in names if name in FINDINGS)
    whole = bool(signs) and event.fate != Fate.UNREADABLE
    return ImageTask(
        dataset=XRAY8,
        path=path,
        label=event.findings,
        fate=event.fate,
        signs=signs,
        patient=patient,
        number=number,
        width_px=side,
        height_px=side,
        form=event.form,
        large_heart="Cardiomegaly" in names,
        lesion_path=lesion_path(path) if whole else "",
        boxed=bool(boxed and whole and event.fate == Fate.KEPT),
        copy_of="first" if event.copies_first else "",  # its path is known once all are named
    )


def class_of(findings: str) -> str:
    """Return the study's class of an image that the rule keeps: its one finding of the six, or No Finding."""
    return next((name for name in findings.split("|") if name in FINDINGS), NO_FINDING)


def _entry_table(rows: list[Entry], settings: PhantomSettings) -> str:
    """Return Data_Entry_2017.csv: the published header, whose one title over two columns is written as two."""
    lines = [ENTRY_HEADER]
    for row in rows:
        rng = make_rng(settings.seed, XRAY8, "entry", row.patient)
        gender = "F" if patient_body(settings.seed, XRAY8, row.patient, child=False).female else "M"
        age = int(rng.integers(18, 85)) + row.follow_up // 3
        width, height, spacing = DETECTORS[int(rng.integers(len(DETECTORS)))]
        view = "PA" if rng.random() < 0.6 else "AP"
        lines.append(
            f"{row.name},{row.findings},{row.follow_up},{row.patient},{age},{gender},{view},{width},{height},{spacing},{spacing}"
        )
    return "\n".join(lines) + "\n"


def _box_table(rows: list[Entry], boxes: dict[str, Boxes]) -> str:
    """Return BBox_List_2017.csv of about half of the kept images with a finding; a large heart has its own box."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    for row in rows:
        task = row.task
        if task is None or not task.boxed:
            continue
        named = [(class_of(row.findings), boxes[task.path][sign]) for sign in task.signs]
        named += [("Cardiomegaly", boxes[task.path]["heart"])] if task.large_heart else []
        writer.writerows((row.name, BOX_LABELS.get(name, name), *box) for name, found in named for box in found)
    return BOX_HEADER + "\n" + buffer.getvalue()
