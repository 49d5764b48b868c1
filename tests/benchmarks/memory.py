"""Peak memory of preprocess and of a training's data path, beyond the page cache, at the size of the largest dataset.

RssAnon counts: the pages that a process owns. What it maps from images.npy is page cache, which the system takes back.
"""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from cxrflow.config.backbones import BACKBONES
from cxrflow.files.records import SplitRow
from cxrflow.files.tables import write_records
from tests.benchmarks.inputs import preprocess_files, split_rows, work_folder, write_films, write_index
from tests.benchmarks.measure import MIB, OURS, ROOT, Goal, Row, child_environment, compare
from tests.benchmarks.startup import SCRIPTS
from tests.models.toy import CONVOLUTIONAL
from tests.packed import write_image_table

SIZES = {"full": (56_000, 224), "quick": (4_000, 224), "tiny": (120, 128)}  # images, px
FILE_PX = 64  # of the files that are preprocessed, and enlarged: decoding is no part of the row, and takes long
FEW = 60  # images of the floor: the process itself
GOAL_MIB = Goal(2048, of_ratio=False)
POLL_S = 0.02
NOTE = "largest RssAnon of the job's processes, looked at every 20 ms; floor: the same job with 60 images"


def watch_memory(command: list[str]) -> float:
    """Run a command; return the largest RssAnon of its process and the processes that it begins, MiB.

    Raises:
        RuntimeError: it failed.
    """
    options: dict[str, Any] = {"cwd": ROOT, "env": child_environment(), "stdout": subprocess.DEVNULL}
    peak_kib = 0
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options) as process:
        while process.poll() is None:
            peak_kib = max(peak_kib, sum(read_rss_anon(pid) for pid in list_family(process.pid)))
            time.sleep(POLL_S)
        said = process.stderr.read() if process.stderr else ""
    if process.returncode != 0:
        raise RuntimeError(f"{command} failed: {said[-2000:]}")
    return peak_kib / 1024


def list_family(pid: int) -> list[int]:
    """Return a process and its children."""
    try:
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    except (FileNotFoundError, ProcessLookupError):
        return [pid]


def read_rss_anon(pid: int) -> int:
    """Return the RssAnon of a process, KiB; 0 where it has just ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon:")), 0)


def watch_preprocess(folder: Path, paths: list[Path], count: int, size_px: int) -> float:
    """Preprocess `count` images, the files in turn, with two threads."""
    index = write_index(folder / "films", paths, folder / f"index{count}.csv", count)
    images = folder / f"packed{count}.npy"
    command = [sys.executable, SCRIPTS / "preprocess.py", *preprocess_files(folder, index, images)]
    settings = ["--settings", f'{{"size_px": {size_px}}}', "--threads", "2"]
    peak_mib = watch_memory([str(word) for word in [*command, *settings]])
    images.unlink()
    return peak_mib


def watch_data_path(folder: Path, count: int, size_px: int, way: str) -> float:
    """Feed one epoch of `count` images, which are empty and take no disk, without a network, or take a few steps."""
    images, split = folder / f"{way}{count}.npy", folder / f"{way}{count}split.csv"
    empty = np.lib.format.open_memmap(images, mode="w+", dtype=np.uint8, shape=(count, size_px, size_px))
    write_image_table(images, empty, split_rows(count))
    write_records(split, SplitRow, split_rows(count))
    command = [sys.executable, "-m", "tests.benchmarks.memory_child", way, images, split, size_px]
    return watch_memory([str(word) for word in command])


def watch_all(size: str) -> dict[str, float]:
    """Return the peak of every side, MiB, two at a time: other work on the machine changes no memory. Longest first."""
    count, size_px = SIZES[size]
    with work_folder() as folder, ThreadPoolExecutor(2) as pool:
        paths = write_films(folder / "films", FILE_PX, 12)
        peaks = {
            **{name: pool.submit(watch_data_path, folder, count, size_px, name) for name in CONVOLUTIONAL},
            "preprocess": pool.submit(watch_preprocess, folder, paths, count, size_px),
            "feed": pool.submit(watch_data_path, folder, count, size_px, "feed"),
            "feed few": pool.submit(watch_data_path, folder, FEW, size_px, "feed"),
            "preprocess few": pool.submit(watch_preprocess, folder, paths, FEW, size_px),
        }
        return {name: peak.result() for name, peak in peaks.items()}


def measure_rows(size: str) -> list[Row]:
    """Return the rows of preprocess, of feeding an epoch, and of steps of every backbone."""
    peaks = {name: [peak_mib] for name, peak_mib in watch_all(size).items()}
    title = "{:,} images of {} px".format(*SIZES[size])
    whats = {"preprocess": "preprocess", "feed": "a training's data path"} | {
        name: f"a training's first steps, {BACKBONES[name].title}, batch 32" for name in CONVOLUTIONAL
    }
    rows = []
    for name, what in whats.items():
        floor, few = (f"{FEW} images", peaks.get(f"{name} few"))
        values = {OURS: peaks[name]} | ({floor: few} if few else {})
        rows.append(
            compare(f"memory of {what}, {title}", MIB, values, floor=floor if few else "", goal=GOAL_MIB, note=NOTE)
        )
    return rows
