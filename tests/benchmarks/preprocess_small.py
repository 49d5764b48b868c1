"""299 px PNG to the packed array, on one core, against the same written back as PNG files.

python -m tests.benchmarks.preprocess_small --size quick
"""

from functools import partial
from pathlib import Path

import cv2
import numpy as np

from tests.benchmarks.drawn import work_folder, write_films, write_index
from tests.benchmarks.measure import (
    IMAGES_PER_CPU_S,
    OURS,
    Goal,
    Row,
    compare,
    interleave,
    require_equal,
    run_row,
)
from tests.benchmarks.preprocess_large import TARGET_PX, Gray, decode_with_cv2, pack_ours, read_gray

SIZES = {"full": (480, 5), "quick": (120, 3), "tiny": (6, 1)}  # images, rounds
FILE_PX = 299
FILES, MEMORY = "cv2 to PNG files", "cv2 in memory"


def write_files(paths: list[Path], target: Path) -> None:
    """Write every preprocessed image as a PNG file of its own."""
    target.mkdir(exist_ok=True)
    for number, path in enumerate(paths):
        cv2.imwrite(str(target / f"{number}.png"), decode_with_cv2(path))


def keep_in_memory(paths: list[Path]) -> list[Gray]:
    return [decode_with_cv2(path) for path in paths]


def measure_rows(size: str) -> list[Row]:
    """Return one row."""
    count, rounds = SIZES[size]
    cv2.setNumThreads(1)
    with work_folder() as folder:
        paths = write_films(folder / "films", FILE_PX, count)
        index = write_index(folder / "films", paths, folder / "index.csv")
        timings = interleave(
            {
                OURS: partial(pack_ours, folder / "films", index, folder / "ours.npy"),
                FILES: partial(write_files, paths, folder / "files"),
                MEMORY: partial(keep_in_memory, paths),
            },
            rounds,
        )
        files = np.stack([read_gray(folder / "files" / f"{number}.png") for number in range(count)])
        difference = np.abs(files.astype(np.int16) - timings.results[OURS]).max()
        require_equal("pixels of the PNG files", float(difference))
    what = f"preprocess {FILE_PX} px PNG to packed {TARGET_PX} px"
    note = "one thread; floor: decode, resize, equalize and blur with cv2 alone, nothing written"
    rates = timings.rates(count)
    return [compare(what, IMAGES_PER_CPU_S, rates, peer=FILES, floor=MEMORY, goal=Goal(3), note=note)]


if __name__ == "__main__":
    run_row(measure_rows)
