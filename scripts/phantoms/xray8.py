"""Lay out phantoms as the NIH publishes ChestX-ray14: a table of findings, one of boxes, two lists, numbered folders.

The table also lists what the study's rule drops, and files that do not exist, as after a partial download.
"""

from dataclasses import dataclass
from pathlib import PurePath

import numpy as np

from cxrflow.config.settings import PhantomSettings
from phantoms.render import Boxes, Fate, Form, ImageTask, PhantomSet, make_rng, patient_body, scale_side

XRAY8 = "xray8"
PUBLISHED_PX = 1024
NO_FINDING = "No Finding"
# The six findings of the study; each one's sign has its name in small letters.
FINDINGS = ("Atelectasis", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumothorax")
OTHERS = ("Cardiomegaly", "Emphysema", "Fibrosis", "Pleural_Thickening")  # only the first is visible
ENTRY_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"
BOX_LABELS = {"Infiltration": "Infiltrate"}  # the box table's name of it
TEST_SHARE = 0.25  # of the patients, in the published split; published: 2,797 of 30,805, with 23 % of the images
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


def plan_xray8(settings: PhantomSettings) -> PhantomSet:
    """Plan the seven classes, what the rule drops, this dataset's defects, and the two tables."""
    rng = make_rng(settings.seed, XRAY8, "plan")
    tasks = _name_images(_make_patients(settings.count_of(XRAY8), rng), settings, rng)
    tables = {
        "Data_Entry_2017.csv": lambda _: _entry_table(tasks, settings),
        "BBox_List_2017.csv": lambda boxes: _box_table(tasks, boxes),
        "train_val_list.txt": lambda _: _part_list(tasks, settings, is_test=False),
        "test_list.txt": lambda _: _part_list(tasks, settings, is_test=True),
    }
    return PhantomSet(tasks, tables)


def _make_patients(count: int, rng: np.random.Generator) -> list[list[Event]]:
    """Return the images of every patient by follow-up; absent files come last, as later archives would hold them."""
    patients: list[list[Event]] = [[] for _ in range(4 * count)]
    for patient in patients[:count]:  # the rule keeps the first No Finding image of each of these
        later = int(rng.integers(1, 3)) if rng.random() < 0.3 else 0
        patient += [Event(NO_FINDING, Fate.KEPT)] + [Event(NO_FINDING, Fate.DROPPED) for _ in range(later)]
    for event in [*_kept_findings(count, rng), *_dropped_findings(count, rng)]:
        patient = patients[int(rng.integers(len(patients)))]
        patient.insert(int(rng.integers(len(patient) + 1)), event)
    patients.append([Event("Mass", Fate.KEPT, copies_first=True)])
    patients.append([Event("Infiltration", Fate.UNREADABLE, Form.EMPTY)])
    patients.append([Event("Effusion", Fate.UNREADABLE, Form.HTML)])
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
    pairs = [sorted(rng.choice(FINDINGS, 2, replace=False).tolist()) for _ in range(max(4, count // 5))]
    others = [OTHERS[i % len(OTHERS)] for i in range(max(2, count // 20))]
    return [Event("|".join(names), Fate.DROPPED) for names in pairs] + [Event(name, Fate.DROPPED) for name in others]


def _name_images(patients: list[list[Event]], settings: PhantomSettings, rng: np.random.Generator) -> list[ImageTask]:
    """Name every image: patients numbered with gaps, follow-ups from 0; the second half lies in images_002."""
    tasks: list[ImageTask] = []
    firsts: dict[str, ImageTask] = {}
    copies: list[int] = []
    patient_id = 0
    for order, patient in enumerate(patients):
        patient_id += int(rng.integers(1, 4))
        folder = "images_001" if order < len(patients) // 2 else "images_002"
        for follow_up, event in enumerate(patient):
            path = f"{folder}/images/{patient_id:08d}_{follow_up:03d}.png"
            task = _task(event, path, patient_id, len(tasks), settings, boxed=rng.random() < BOXED_SHARE)
            if event.copies_first:
                copies.append(len(tasks))
            elif task.fate == Fate.KEPT:
                firsts.setdefault(event.findings, task)
            tasks.append(task)
    for place in copies:  # the first may come later
        tasks[place] = firsts[tasks[place].label].copied_to(tasks[place])
    return tasks


def _task(event: Event, path: str, patient: int, number: int, settings: PhantomSettings, boxed: bool) -> ImageTask:
    side, names = scale_side(PUBLISHED_PX, settings.size_scale), event.findings.split("|")
    signs = tuple(name.lower() for name in names if name in FINDINGS)
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
        boxed=bool(boxed and signs and event.fate == Fate.KEPT),
    )


def class_of(findings: str) -> str:
    """Return the study's class of an image that the rule keeps: its one finding of the six, or No Finding."""
    return next((name for name in findings.split("|") if name in FINDINGS), NO_FINDING)


def _entry_table(tasks: list[ImageTask], settings: PhantomSettings) -> str:
    """Return Data_Entry_2017.csv: the published header, whose one title over two columns is written as two."""
    lines = [ENTRY_HEADER]
    for task in tasks:
        name = PurePath(task.path)
        patient, follow_up = map(int, name.stem.split("_"))  # a copy's task is the other patient's
        rng = make_rng(settings.seed, XRAY8, "entry", patient)
        gender = "F" if patient_body(settings.seed, XRAY8, patient, child=False).female else "M"
        age = int(rng.integers(18, 85)) + follow_up // 3
        width, height, spacing = DETECTORS[int(rng.integers(len(DETECTORS)))]
        view = "PA" if rng.random() < 0.6 else "AP"
        row = (name.name, task.label, follow_up, patient, age, gender, view, width, height, spacing, spacing)
        lines.append(",".join(map(str, row)))
    return "\n".join(lines) + "\n"


def _part_list(tasks: list[ImageTask], settings: PhantomSettings, is_test: bool) -> str:
    """Return train_val_list.txt or test_list.txt: whole patients; one with another's image is in the other's list."""
    names = [PurePath(task.path).name for task in tasks]
    owners = {
        name: PurePath(task.copy_of or task.path).name.split("_")[0] for name, task in zip(names, tasks, strict=True)
    }
    tested = {
        owner: make_rng(settings.seed, XRAY8, "list", int(owner)).random() < TEST_SHARE for owner in owners.values()
    }
    return "".join(f"{name}\n" for name in names if tested[owners[name]] == is_test)


def _box_table(tasks: list[ImageTask], boxes: dict[str, Boxes]) -> str:
    """Return BBox_List_2017.csv of about half of the kept images with a finding; a large heart has its own box."""
    lines = [BOX_HEADER]
    for task in (task for task in tasks if task.boxed):
        finding = class_of(task.label)
        named = [(BOX_LABELS.get(finding, finding), boxes[task.path][sign]) for sign in task.signs]
        named += [("Cardiomegaly", boxes[task.path]["heart"])] if task.large_heart else []
        lines += [",".join(map(str, (PurePath(task.path).name, name, *box))) for name, found in named for box in found]
    return "\n".join(lines) + "\n"
