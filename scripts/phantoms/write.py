"""Write the three synthetic datasets into a folder, and remove what an earlier run wrote there, and nothing else.

Reads and writes `.phantoms.json`, the list of every file that a run is about to write, which marks the folder as its
own; writes the datasets, and last the manifest: its presence means that all files are complete.
"""

import contextlib
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

from cxrflow.config.parsing import settings_dict
from cxrflow.config.settings import PhantomSettings
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import WRITTEN, read_json, sha256_bytes, write_json, write_text
from phantoms.kaggle import COVID, PNEUMONIA, plan_covid, plan_pneumonia
from phantoms.render import Boxes, Fate, ImageTask, PhantomSet, encode_task
from phantoms.xray8 import XRAY8, class_of, plan_xray8

MARKER = ".phantoms.json"
LAYOUTS = {COVID: plan_covid, PNEUMONIA: plan_pneumonia, XRAY8: plan_xray8}
TASKS_PER_BATCH = 16


def write_phantoms(folder: Path, settings: PhantomSettings, manifest: Path, processes: int = 1) -> dict[str, Any]:
    """Write every dataset into `folder` and return the manifest's content; the bytes are the same for any `processes`.

    Raises:
        CxrflowError: the folder holds files that no earlier run wrote.
    """
    sets = {name: plan(settings) for name, plan in LAYOUTS.items()}
    tasks = [task for each in sets.values() for task in each.tasks]
    planned = [path for task in tasks for path in task.files]
    planned += [f"{name}/{path}" for name, each in sets.items() for path in each.tables]
    claim_folder(folder, sorted(planned), manifest)
    for place in {(folder / path).parent for path in planned}:
        place.mkdir(parents=True, exist_ok=True)
    write = partial(write_task, folder=folder, seed=settings.seed, sign_contrast=settings.sign_contrast)
    digests: dict[str, str] = {}
    boxes: dict[str, dict[str, Boxes]] = {name: {} for name in sets}
    for task, (hashes, found) in zip(tasks, _map(write, tasks, processes), strict=True):
        digests.update(hashes)
        boxes[task.dataset][task.path] = found
    for name, each in sets.items():
        for path, make_text in each.tables.items():
            text = make_text(boxes[name])
            write_text(folder / name / path, text)
            digests[f"{name}/{path}"] = sha256_bytes(text.encode())
    WRITTEN.update((folder / path).absolute() for path in digests)
    content = describe_phantoms(sets, settings, digests)
    write_json(manifest, content)
    return content


def claim_folder(folder: Path, paths: list[str], manifest: Path) -> None:
    """Remove what an earlier run wrote, and mark the folder with what this one is going to write.

    Raises:
        CxrflowError: the folder holds somebody's files, or one of them is where a phantom would be written.
    """
    marker = folder / MARKER
    if marker.is_file():
        manifest.unlink(missing_ok=True)  # it would vouch for files that are about to go
        _sweep(folder, _marked_paths(marker))
    elif foreign := [p for p in sorted(folder.rglob("*")) if not p.is_dir() and p.absolute() != manifest.absolute()]:
        raise CxrflowError(
            f"{folder} already holds {foreign[0].relative_to(folder)}, and phantoms are only written into an empty"
            " folder or over earlier phantoms: choose another folder, or empty this one"
        )
    for path in paths:
        if os.path.lexists(folder / path):
            raise CxrflowError(f"{folder / path} is in the way and was not written by an earlier run: move it away")
    write_json(marker, {"written_by": "cxrflow phantom", "files": paths})


def _marked_paths(marker: Path) -> list[str]:
    """Return the files that an earlier run wrote; a path that leaves the folder is refused."""
    content = read_json(marker)
    paths = content.get("files") if isinstance(content, dict) else None
    if isinstance(paths, list) and all(isinstance(path, str) for path in paths):
        pure = [PurePosixPath(path) for path in paths]
        if all(each.parts and not each.is_absolute() and ".." not in each.parts for each in pure):
            return paths
    raise CxrflowError(f"{marker} was changed since it was written: choose another folder, or delete this one")


def _sweep(folder: Path, paths: Iterable[str]) -> None:
    """Delete files, and the folders that are empty then; any other file stays."""
    for path in paths:
        (folder / path).unlink(missing_ok=True)
    for parent in sorted({each for path in paths for each in PurePosixPath(path).parents[:-1]}, reverse=True):
        with contextlib.suppress(OSError):  # not empty, or not there
            (folder / parent).rmdir()


def _map(write: Any, tasks: list[ImageTask], processes: int) -> Iterator[Any]:
    if processes < 2:
        yield from map(write, tasks)
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads can hang
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        yield from pool.map(write, tasks, chunksize=TASKS_PER_BATCH)


def write_task(task: ImageTask, *, folder: Path, seed: int, sign_contrast: float) -> tuple[dict[str, str], Boxes]:
    """Synthesise one image and write its files; return the SHA-256 of each file's path, and the boxes."""
    cv2.setNumThreads(1)  # the images are what runs in parallel
    files, boxes = encode_task(task, seed, sign_contrast)
    for path, data in files.items():
        (folder / path).write_bytes(data)  # not atomic: the manifest, written last, says that all are complete
    return {path: sha256_bytes(data) for path, data in files.items()}, boxes


def describe_phantoms(
    sets: dict[str, PhantomSet], settings: PhantomSettings, digests: dict[str, str]
) -> dict[str, Any]:
    """Return the manifest: settings, counts by dataset, class and fate, defects, and one SHA-256 over all files."""
    return {
        "settings": settings_dict(settings),
        "counts": {name: _count(each) for name, each in sets.items()},
        "defects": [
            {"path": f"{task.dataset}/{task.path}", "kind": task.defect}
            | ({"copy_of": f"{task.dataset}/{task.copy_of}"} if task.copy_of else {})
            for each in sets.values()
            for task in each.tasks
            if task.defect
        ],
        "n_files": len(digests),
        "sha256": hash_files(digests),
    }


def _count(phantoms: PhantomSet) -> dict[str, dict[str, int]]:
    """Count images by class and fate; what the rule drops is counted under its findings as the table has them."""
    counts: Counter[tuple[str, str]] = Counter()
    for task in phantoms.tasks:
        label = class_of(task.label) if task.dataset == XRAY8 and task.fate == Fate.KEPT else task.label
        counts[label, task.fate] += 1
    labels = sorted({label for label, _ in counts})
    return {label: {fate: n for (name, fate), n in sorted(counts.items()) if name == label} for label in labels}


def hash_files(digests: dict[str, str]) -> str:
    """Return one SHA-256 over files: of the lines `<sha256>  <path>` that sha256sum prints, ordered by path."""
    lines = "".join(f"{digests[path]}  {path}\n" for path in sorted(digests))
    return hashlib.sha256(lines.encode()).hexdigest()
