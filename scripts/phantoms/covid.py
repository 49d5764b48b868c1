"""Lay out drawn images as Kaggle publishes COVID-19 Radiography: 299x299 px PNG, lung masks, no patients."""

import dataclasses

from cxrflow.config.settings import PhantomSettings
from phantoms.tasks import DEEP, DROPPED, KEPT, RGBA, ImageTask, Plan, lesion_path, scale_side

DATASET = "covid"
ROOT = "COVID-19_Radiography_Dataset"
PUBLISHED_PX = 299
SIGNS: dict[str, tuple[str, ...]] = {"COVID": ("ground_glass",), "Normal": (), "Viral Pneumonia": ("interstitial",)}
LEFT_OUT = "Lung_Opacity"  # a fourth class of the published set, which the study leaves out


def plan_covid(settings: PhantomSettings) -> Plan:
    """Plan the three classes of the study, a few images of the fourth, and this dataset's defects."""
    count = settings.count_of(DATASET)
    tasks = [_task(settings, label, number, KEPT) for label in SIGNS for number in range(1, count + 1)]
    tasks += [_task(settings, LEFT_OUT, number, DROPPED) for number in range(1, max(3, count // 20) + 1)]
    return Plan(_add_defects(tasks))


def _task(settings: PhantomSettings, label: str, number: int, fate: str) -> ImageTask:
    side = scale_side(PUBLISHED_PX, settings.size_scale)
    signs = SIGNS.get(label, ("opacity",))
    path = f"{ROOT}/{label}/images/{label}-{number}.png"
    return ImageTask(
        dataset=DATASET,
        path=path,
        label=label,
        fate=fate,
        signs=signs,
        patient=1000 * [*SIGNS, LEFT_OUT].index(label) * settings.count_of(DATASET) + number,  # each image its own
        number=number,
        width_px=side,
        height_px=side,
        lesion_path=lesion_path(path) if signs else "",
        lungs_path=f"{ROOT}/{label}/masks/{label}-{number}.png",
    )


def _add_defects(tasks: list[ImageTask]) -> list[ImageTask]:
    """Give COVID-3 an alpha channel, store Normal-5 at 16 bits, and make Normal-8 a copy of Normal-7."""
    by_path = {task.path: task for task in tasks}
    changes = {
        f"{ROOT}/COVID/images/COVID-3.png": RGBA,
        f"{ROOT}/Normal/images/Normal-5.png": DEEP,
    }
    for path, form in changes.items():
        by_path[path] = dataclasses.replace(by_path[path], form=form)
    original, copy = (by_path[f"{ROOT}/Normal/images/Normal-{number}.png"] for number in (7, 8))
    by_path[copy.path] = dataclasses.replace(
        original, path=copy.path, lungs_path=copy.lungs_path, copy_of=original.path
    )
    return list(by_path.values())
