"""Lay out phantoms as the two datasets of Kaggle are published.

`covid`: COVID-19 Radiography, 299x299 px PNG, lung masks, no patients. `pneumonia`: the paediatric set of Kermany et
al., class and patient in the file name; films of many sizes and aspects, which say nothing about the class; one to four
images of a patient.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from cxrflow.config.settings import PhantomSettings
from phantoms.render import Fate, Form, ImageTask, PhantomSet, make_rng, scale_side

COVID, COVID_ROOT = "covid", "COVID-19_Radiography_Dataset"
COVID_PX = 299
COVID_SIGNS = {"COVID": ("ground_glass",), "Normal": (), "Viral Pneumonia": ("interstitial",)}
COVID_FORMS = {("COVID", 3): Form.RGBA, ("Normal", 5): Form.DEEP}  # defects on purpose
COVID_COPY = (7, 8)  # the Normal image that is copied, and its copy
LEFT_OUT = "Lung_Opacity"  # a fourth class of the published set, which the study leaves out

PNEUMONIA, PNEUMONIA_ROOT = "pneumonia", "chest_xray"
PNEUMONIA_SIGNS = {"bacterial": ("consolidation",), "normal": (), "viral": ("interstitial",)}
TEST_SHARE = 0.15  # of the patients
PER_PATIENT = (0.60, 0.22, 0.12, 0.06)  # share of patients with 1, 2, 3, 4 images
COPIES = 2
FIRST_PATIENT = {"bacterial": 1, "viral": 1, "normal": 115}  # person1_bacteria_1 and person1_virus_6 are two patients


def plan_covid(settings: PhantomSettings) -> PhantomSet:
    """Plan the three classes of the study, a few images of the fourth, and this dataset's defects."""
    count = settings.count_of(COVID)
    tasks = [_covid_task(settings, label, number, Fate.KEPT) for label in COVID_SIGNS for number in range(1, count + 1)]
    tasks += [_covid_task(settings, LEFT_OUT, number, Fate.DROPPED) for number in range(1, max(3, count // 20) + 1)]
    copied, copy = (next(k for k, t in enumerate(tasks) if (t.label, t.number) == ("Normal", n)) for n in COVID_COPY)
    tasks[copy] = tasks[copied].copied_to(tasks[copy])
    return PhantomSet(tasks)


def _covid_task(settings: PhantomSettings, label: str, number: int, fate: Fate) -> ImageTask:
    side = scale_side(COVID_PX, settings.size_scale)
    return ImageTask(
        dataset=COVID,
        path=f"{COVID_ROOT}/{label}/images/{label}-{number}.png",
        label=label,
        fate=fate,
        signs=COVID_SIGNS.get(label, ("opacity",)),
        patient=1000 * [*COVID_SIGNS, LEFT_OUT].index(label) * settings.count_of(COVID) + number,  # each image its own
        number=number,
        width_px=side,
        height_px=side,
        form=COVID_FORMS.get((label, number), Form.GRAY),
        lungs_path=f"{COVID_ROOT}/{label}/masks/{label}-{number}.png",
    )


def plan_pneumonia(settings: PhantomSettings) -> PhantomSet:
    """Plan the three classes, two copies of bacterial images under other names, and one truncated JPEG."""
    rng = make_rng(settings.seed, PNEUMONIA, "plan")
    tasks: list[ImageTask] = []
    for label in PNEUMONIA_SIGNS:
        count = settings.count_of(PNEUMONIA) + (label == "bacterial")  # one more, to be truncated
        named = enumerate(_name_images(label, count, rng), start=1)  # in turn with the tasks: they share `rng`
        tasks += [_pneumonia_task(settings, label, number, patient, name, rng) for number, (patient, name) in named]
    return PhantomSet(_add_pneumonia_defects(tasks))


def _name_images(label: str, count: int, rng: np.random.Generator) -> Iterator[tuple[int, str]]:
    """Yield (patient, path without suffix) of `count` images in the published naming."""
    patient, named = FIRST_PATIENT[label], 0
    while named < count:
        images = min(int(rng.choice(len(PER_PATIENT), p=PER_PATIENT)) + 1, count - named)
        part = "test" if rng.random() < TEST_SHARE else "train"
        second_series = rng.random() < 0.5
        for order in range(1, images + 1):
            named += 1
            yield patient, f"{PNEUMONIA_ROOT}/{part}/{_stem(label, patient, named, order, second_series)}"
        patient += int(rng.integers(1, 3))


def _stem(label: str, patient: int, number: int, order: int, second_series: bool) -> str:
    if label == "bacterial":
        return f"PNEUMONIA/person{patient}_bacteria_{number}"
    if label == "viral":
        return f"PNEUMONIA/person{patient}_virus_{number + 5}"
    series = "NORMAL2-" if second_series else ""
    return f"NORMAL/{series}IM-{patient:04d}-0001" + (f"-{order:04d}" if order > 1 else "")


def _pneumonia_task(
    settings: PhantomSettings, label: str, number: int, patient: int, name: str, rng: np.random.Generator
) -> ImageTask:
    width = np.exp(rng.uniform(np.log(800), np.log(2000)))  # published: 384 to 2,916 px wide
    aspect = float(rng.uniform(0.95, 1.65))  # published: about 0.8 to 3
    return ImageTask(
        dataset=PNEUMONIA,
        path=f"{name}.jpeg",
        label=label,
        fate=Fate.KEPT,
        signs=PNEUMONIA_SIGNS[label],
        patient=1000 * list(PNEUMONIA_SIGNS).index(label) * settings.count_of(PNEUMONIA) + patient,
        number=number,
        width_px=scale_side(width, settings.size_scale),
        height_px=scale_side(width / aspect, settings.size_scale),
        form=Form.RGB if rng.random() < 0.05 else Form.GRAY,  # published: 283 of 5,856
        child=True,
    )


def _add_pneumonia_defects(tasks: list[ImageTask]) -> list[ImageTask]:
    """Truncate one bacterial image and turn two others into copies of images of other patients."""
    bacterial = [task for task in tasks if task.label == "bacterial"]
    broken = bacterial[-1]
    changed = {broken.path: dataclasses.replace(broken, form=Form.TRUNCATED, fate=Fate.UNREADABLE)}
    for original, copy in zip(bacterial[:COPIES], bacterial[len(bacterial) // 2 :], strict=False):
        changed[copy.path] = original.copied_to(copy)
    return [changed.get(task.path, task) for task in tasks]
