"""Draw the three datasets into a folder, and sweep what an earlier run drew there, and nothing else.

Reads and writes `.drawn.json`, the list of every file that a run is about to draw, which marks the folder as drawn;
writes the datasets, and last the manifest: its presence means that everything is there.
"""

import hashlib
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import cv2

from cxrflow.config.settings import PhantomSettings, settings_dict
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import read_json, sha256_bytes, write_json, write_text
from phantoms.covid import DATASET as COVID
from phantoms.covid import plan_covid
from phantoms.pneumonia import DATASET as PNEUMONIA
from phantoms.pneumonia import plan_pneumonia
from phantoms.render import encode_task
from phantoms.tasks import ABSENT, KEPT, Boxes, ImageTask, Plan
from phantoms.xray8 import DATASET as XRAY8
from phantoms.xray8 import class_of, plan_xray8

MARKER = ".drawn.json"
LAYOUTS = {COVID: plan_covid, PNEUMONIA: plan_pneumonia, XRAY8: plan_xray8}
TASKS_PER_BATCH = 16


def draw_datasets(folder: Path, settings: PhantomSettings, manifest: Path, processes: int = 1) -> dict[str, Any]:
    """Draw every dataset into `folder` and return the manifest's content; the bytes are the same for any `processes`.

    Raises:
        CxrflowError: the folder holds files that no run of this drew.
    """
    plans = {name: plan(settings) for name, plan in LAYOUTS.items()}
    paths = sorted(planned_files(plans))
    claim_folder(folder, paths, manifest)
    digests, boxes = _draw_tasks(folder, [task for plan in plans.values() for task in plan.tasks], settings, processes)
    for name, plan in plans.items():
        for path, text in zip(plan.tables, plan.write_tables(boxes[name]), strict=True):
            write_text(folder / name / path, text)
            digests[f"{name}/{path}"] = sha256_bytes(text.encode())
    content = describe_drawing(plans, settings, digests)
    write_json(manifest, content)
    return content


def planned_files(plans: dict[str, Plan]) -> Iterator[str]:
    """Give the path of every file that plans will write, relative to the folder."""
    for name, plan in plans.items():
        yield from (path for task in plan.tasks for path in task.files)
        yield from (f"{name}/{path}" for path in plan.tables)


def claim_folder(folder: Path, paths: list[str], manifest: Path) -> None:
    """Remove what an earlier run drew, and mark the folder with what this one is going to draw.

    Raises:
        CxrflowError: the folder is another's, or another's file lies where one is to be drawn.
    """
    marker = folder / MARKER
    if marker.is_file():
        manifest.unlink(missing_ok=True)  # it would vouch for files that are about to go
        _sweep(folder, _marked_paths(marker))
    elif foreign := _foreign_file(folder, manifest):
        raise CxrflowError(
            f"{folder} already holds {foreign}, and phantoms are only drawn into an empty folder or over earlier"
            " phantoms: choose another folder"
        )
    for path in paths:
        if os.path.lexists(folder / path):
            raise CxrflowError(f"{folder / path} is in the way and was not drawn by an earlier run: move it away")
    write_json(marker, {"drawn_by": "cxrflow phantom", "files": paths})


def _marked_paths(marker: Path) -> list[str]:
    """Return the files that an earlier run drew; a path that leaves the folder is none."""
    content = read_json(marker)
    paths = content.get("files") if isinstance(content, dict) else None
    if not isinstance(paths, list) or not all(isinstance(path, str) and _stays_inside(path) for path in paths):
        raise CxrflowError(f"{marker} is not as it was written: choose another folder, or delete this one yourself")
    return paths


def _stays_inside(path: str) -> bool:
    pure = PurePosixPath(path)
    return bool(pure.parts) and not pure.is_absolute() and ".." not in pure.parts


def _sweep(folder: Path, paths: Iterable[str]) -> None:
    """Delete files, and the folders that are empty then; whatever else lies there stays."""
    parents: set[PurePosixPath] = set()
    for path in paths:
        (folder / path).unlink(missing_ok=True)
        parents.update(PurePosixPath(path).parents)
    for parent in sorted(parents, key=lambda each: -len(each.parts)):
        place = folder / parent
        if parent.parts and place.is_dir() and not any(place.iterdir()):
            place.rmdir()


def _foreign_file(folder: Path, manifest: Path) -> str:
    """Return a file in the folder other than the manifest, or empty; empty folders do not count."""
    for place, _, names in os.walk(folder):
        for name in sorted(names):
            if os.path.abspath(os.path.join(place, name)) != os.path.abspath(manifest):
                return os.path.relpath(os.path.join(place, name), folder)
    return ""


def _draw_tasks(
    folder: Path, tasks: list[ImageTask], settings: PhantomSettings, processes: int
) -> tuple[dict[str, str], dict[str, dict[str, Boxes]]]:
    """Draw tasks in parallel; return the SHA-256 of each file and, per dataset and image path, the boxes."""
    for place in {(folder / path).parent for task in tasks for path in task.files}:
        place.mkdir(parents=True, exist_ok=True)
    draw = partial(draw_task, folder=folder, seed=settings.seed, sign_contrast=settings.sign_contrast)
    digests: dict[str, str] = {}
    boxes: dict[str, dict[str, Boxes]] = {task.dataset: {} for task in tasks}
    for task, (hashes, found) in zip(tasks, _map(draw, tasks, processes), strict=True):
        digests.update(hashes)
        boxes[task.dataset][task.path] = found
    return digests, boxes


def _map(draw: Any, tasks: list[ImageTask], processes: int) -> Iterator[Any]:
    if processes < 2:
        yield from map(draw, tasks)
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads can hang
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        yield from pool.map(draw, tasks, chunksize=TASKS_PER_BATCH)


def draw_task(task: ImageTask, *, folder: Path, seed: int, sign_contrast: float) -> tuple[dict[str, str], Boxes]:
    """Draw one image and write its files; return the SHA-256 of each file's path, and the boxes."""
    cv2.setNumThreads(1)  # the images are what runs in parallel
    files, boxes = encode_task(task, seed, sign_contrast)
    for path, data in files.items():
        (folder / path).write_bytes(data)  # not atomic: the manifest, written last, says that all are whole
    return {path: sha256_bytes(data) for path, data in files.items()}, boxes


def describe_drawing(plans: dict[str, Plan], settings: PhantomSettings, digests: dict[str, str]) -> dict[str, Any]:
    """Return the manifest: settings, counts by dataset, class and fate, defects, and one SHA-256 over all files."""
    return {
        "settings": settings_dict(settings),
        "counts": {name: _count(plan) for name, plan in plans.items()},
        "defects": [
            {"path": f"{task.dataset}/{task.path}", "kind": task.defect}
            | ({"copy_of": f"{task.dataset}/{task.copy_of}"} if task.copy_of else {})
            for plan in plans.values()
            for task in plan.tasks
            if task.defect
        ],
        "n_files": len(digests),
        "sha256": hash_files(digests),
    }


def _count(plan: Plan) -> dict[str, dict[str, int]]:
    """Count images by class and fate; what the rule drops is counted under its findings as the table has them."""
    counts: Counter[tuple[str, str]] = Counter()
    for task in plan.tasks:
        label = class_of(task.label) if task.dataset == XRAY8 and task.fate == KEPT else task.label
        counts[label, task.fate] += 1
    counts.update({(label, ABSENT): number for label, number in plan.absent.items()})
    labels = sorted({label for label, _ in counts})
    return {label: {fate: n for (name, fate), n in sorted(counts.items()) if name == label} for label in labels}


def hash_files(digests: dict[str, str]) -> str:
    """Return one SHA-256 over files: of the lines `<sha256>  <path>` that sha256sum prints, ordered by path."""
    lines = "".join(f"{digests[path]}  {path}\n" for path in sorted(digests))
    return hashlib.sha256(lines.encode()).hexdigest()
