"""PNG files to the packed array: large ones, small ones against PNG files, and two threads."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import kornia_rs
import numpy as np
from numpy.typing import NDArray

from cxrflow.config.settings import PreprocessSettings
from cxrflow.data.packing import pack_images
from cxrflow.files.records import IndexRow
from cxrflow.files.tables import read_records
from tests.benchmarks.inputs import work_folder, write_films, write_index
from tests.benchmarks.measure import (
    IMAGES_PER_CPU_S,
    IMAGES_PER_S,
    OURS,
    Goal,
    Row,
    Timings,
    compare,
    interleave,
    require_equal,
    skip,
)

Gray = NDArray[np.uint8]  # uint8 (H, W), 0-255
Side = Callable[[], Gray]

LARGE = {"full": (96, 1024, 3), "quick": (24, 1024, 3), "tiny": (4, 256, 1)}  # images, side of the file in px, rounds
SMALL = {"full": (480, 299, 5), "quick": (120, 299, 3), "tiny": (6, 299, 1)}
THREADED = {"full": (1_200, 1024, 2), "quick": (520, 1024, 2), "tiny": (4, 128, 1)}
TARGET_PX = 224
CV2, KORNIA, FILES, MEMORY = "cv2 alone", "kornia_rs + cv2", "cv2 to PNG files", "cv2 in memory"
ONE, TWICE = "1 thread", "twice 1 thread"
LARGE_NOTE = (
    "one thread; ours also checks the SHA-256 of each file and survives a kill; floor: the same decoder, and cv2"
)
SMALL_NOTE = "one thread; floor: decode, resize, equalize and blur with cv2 alone, nothing written"


def read_gray(path: Path) -> Gray:
    return np.asarray(cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_GRAYSCALE))


def decode_with_kornia(path: Path) -> Gray:
    return np.asarray(kornia_rs.io.read_image_png_u8(str(path), "mono"))[..., 0]


def finish_with_cv2(read: Callable[[Path], Gray], path: Path) -> Gray:
    """Read a file, then resize, equalize and blur it as the study does."""
    small = cv2.resize(read(path), (TARGET_PX, TARGET_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(cv2.equalizeHist(small), (5, 5), 0))


def fill_array(read: Callable[[Path], Gray], paths: list[Path], target: Path) -> Gray:
    """Write one row per file into a memory-mapped array."""
    shape = (len(paths), TARGET_PX, TARGET_PX)
    packed = np.lib.format.open_memmap(target, mode="w+", dtype=np.uint8, shape=shape)
    for number, path in enumerate(paths):
        packed[number] = finish_with_cv2(read, path)
    return packed


def write_files(paths: list[Path], folder: Path) -> Gray:
    """Write every preprocessed image as a PNG file of its own; return them as they were."""
    folder.mkdir(exist_ok=True)
    images = keep_in_memory(paths)
    for number, image in enumerate(images):
        cv2.imwrite(str(folder / f"{number}.png"), image)
    return images


def keep_in_memory(paths: list[Path]) -> Gray:
    return np.stack([finish_with_cv2(read_gray, path) for path in paths])


def pack_ours(folder: Path, threads: int = 1) -> Gray:
    """Preprocess every image of the index as the stage does."""
    target = folder / f"{threads}.npy"
    rows = read_records(folder / "index.csv", IndexRow)
    pack_images(folder / "films", rows, PreprocessSettings(TARGET_PX), threads, folder / "resume", target)
    return np.load(target, mmap_mode="r")


def check_pixels(results: Mapping[str, Gray]) -> None:
    """Check that all sides have the same pixels."""
    for name, pixels in results.items():
        require_equal(f"pixels of {name}", float(np.any(results[OURS] != pixels)))


def time_sides(
    make_sides: Callable[[Path, list[Path]], dict[str, Side]], count: int, size_px: int, rounds: int
) -> Timings:
    """Time sides, which are given a folder and the files in it, and check their pixels."""
    with work_folder() as folder:
        paths = write_films(folder / "films", size_px, count)
        write_index(folder / "films", paths, folder / "index.csv")
        timings = interleave(make_sides(folder, paths), rounds)
        check_pixels(timings.results)
        return timings


def make_large(folder: Path, paths: list[Path]) -> dict[str, Side]:
    """Return ours, and other libraries."""
    readers = {CV2: read_gray, KORNIA: decode_with_kornia}
    others = {name: partial(fill_array, read, paths, folder / f"{name}.npy") for name, read in readers.items()}
    return {OURS: partial(pack_ours, folder), **others}


def make_small(folder: Path, paths: list[Path]) -> dict[str, Side]:
    """Return ours, PNG files, and nothing written."""
    files, memory = partial(write_files, paths, folder / "files"), partial(keep_in_memory, paths)
    return {OURS: partial(pack_ours, folder), FILES: files, MEMORY: memory}


def make_threads(folder: Path, _paths: list[Path]) -> dict[str, Side]:
    """Return two threads and one."""
    return {OURS: partial(pack_ours, folder, 2), ONE: partial(pack_ours, folder, 1)}


def measure_files(
    make_sides: Callable[[Path, list[Path]], dict[str, Side]], sizes: tuple[int, int, int], **compared: Any
) -> Row:
    """Return the row of files of one size."""
    count, size_px, rounds = sizes
    rates = time_sides(make_sides, count, size_px, rounds).rates(count)
    return compare(f"preprocess {size_px} px PNG to packed {TARGET_PX} px", IMAGES_PER_CPU_S, rates, **compared)


def measure_threads(size: str) -> Row:
    """Return the row of two threads against one, on the wall clock."""
    count, size_px, rounds = THREADED[size]
    what = f"preprocess {size_px} px PNG with 2 threads to {TARGET_PX} px"
    if len(os.sched_getaffinity(0)) < 2:
        return skip(what, "this machine has one core", "1.9x")
    wall_s = time_sides(make_threads, count, size_px, rounds).wall_s
    rates = {name: [count / value for value in values] for name, values in wall_s.items()}
    rates[TWICE] = [2 * rate for rate in rates[ONE]]
    note = "wall clock, so other work on the machine counts against it, and so does beginning the processes"
    return compare(what, IMAGES_PER_S, rates, peer=ONE, floor=TWICE, goal=Goal(1.9), note=note)


def measure_rows(size: str) -> list[Row]:
    """Return the rows of large files, of small ones, and of two threads."""
    cv2.setNumThreads(1)
    large = measure_files(make_large, LARGE[size], peer=CV2, floor=KORNIA, goal=Goal(1.8), note=LARGE_NOTE)
    small = measure_files(make_small, SMALL[size], peer=FILES, floor=MEMORY, goal=Goal(3), note=SMALL_NOTE)
    return [large, small, measure_threads(size)]
