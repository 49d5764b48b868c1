"""Lay out drawn images as Kaggle publishes the paediatric set of Kermany et al.: class and patient in the file name.

Films of many sizes and aspects; one to four images of a patient; the size says nothing about the class.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from cxrflow.config.settings import PhantomSettings
from phantoms.tasks import (
    GRAY,
    KEPT,
    RGB,
    TRUNCATED,
    UNREADABLE,
    ImageTask,
    Plan,
    lesion_path,
    make_rng,
    scale_side,
)

DATASET = "pneumonia"
ROOT = "chest_xray"
SIGNS: dict[str, tuple[str, ...]] = {"bacterial": ("consolidation",), "normal": (), "viral": ("interstitial",)}
TEST_SHARE = 0.15  # of the patients
PER_PATIENT = (0.60, 0.22, 0.12, 0.06)  # share of patients with 1, 2, 3, 4 images
COPIES = 2
FIRST_PATIENT = {"bacterial": 1, "viral": 1, "normal": 115}  # person1_bacteria_1 and person1_virus_6 are two patients


def plan_pneumonia(settings: PhantomSettings) -> Plan:
    """Plan the three classes, two copies of bacterial images under other names, and one truncated JPEG."""
    rng = make_rng(settings.seed, DATASET, "plan")
    tasks: list[ImageTask] = []
    for label in SIGNS:
        extra = 1 if label == "bacterial" else 0  # one more, to be truncated
        tasks += _class_tasks(settings, label, settings.count_of(DATASET) + extra, rng)
    return Plan(_add_defects(tasks))


def _class_tasks(settings: PhantomSettings, label: str, count: int, rng: np.random.Generator) -> list[ImageTask]:
    """Plan `count` images of one class, patient by patient."""
    names = _names(label, count, rng)
    return [_task(settings, label, number, patient, name, rng) for number, (patient, name) in enumerate(names, start=1)]


def _names(label: str, count: int, rng: np.random.Generator) -> Iterator[tuple[int, str]]:
    """Give (patient, path without suffix) of `count` images in the published naming."""
    patient, given = FIRST_PATIENT[label], 0
    while given < count:
        images = min(int(rng.choice(len(PER_PATIENT), p=PER_PATIENT)) + 1, count - given)
        part = "test" if rng.random() < TEST_SHARE else "train"
        second_series = rng.random() < 0.5
        for order in range(1, images + 1):
            given += 1
            yield patient, f"{ROOT}/{part}/{_stem(label, patient, given, order, second_series)}"
        patient += int(rng.integers(1, 3))


def _stem(label: str, patient: int, number: int, order: int, second_series: bool) -> str:
    if label == "bacterial":
        return f"PNEUMONIA/person{patient}_bacteria_{number}"
    if label == "viral":
        return f"PNEUMONIA/person{patient}_virus_{number + 5}"
    series = "NORMAL2-" if second_series else ""
    return f"NORMAL/{series}IM-{patient:04d}-0001" + (f"-{order:04d}" if order > 1 else "")


def _task(
    settings: PhantomSettings, label: str, number: int, patient: int, name: str, rng: np.random.Generator
) -> ImageTask:
    width = np.exp(rng.uniform(np.log(800), np.log(2000)))  # published: 384 to 2,916 px wide
    aspect = float(rng.uniform(0.95, 1.65))  # published: about 0.8 to 3
    path = f"{name}.jpeg"
    return ImageTask(
        dataset=DATASET,
        path=path,
        label=label,
        fate=KEPT,
        signs=SIGNS[label],
        patient=1000 * list(SIGNS).index(label) * settings.count_of(DATASET) + patient,
        number=number,
        width_px=scale_side(width, settings.size_scale),
        height_px=scale_side(width / aspect, settings.size_scale),
        form=RGB if rng.random() < 0.05 else GRAY,  # published: 283 of 5,856
        child=True,
        lesion_path=lesion_path(path) if SIGNS[label] else "",
    )


def _add_defects(tasks: list[ImageTask]) -> list[ImageTask]:
    """Truncate one bacterial image and turn two others into copies of images of other patients."""
    bacterial = [task for task in tasks if task.label == "bacterial"]
    broken = bacterial[-1]
    changed = {broken.path: dataclasses.replace(broken, form=TRUNCATED, fate=UNREADABLE, lesion_path="")}
    for i in range(COPIES):
        original, copy = bacterial[i], bacterial[len(bacterial) // 2 + i]
        changed[copy.path] = dataclasses.replace(
            original, path=copy.path, lesion_path=copy.lesion_path, copy_of=original.path
        )
    return [changed.get(task.path, task) for task in tasks]
