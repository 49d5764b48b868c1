"""Preprocess with two threads against one, on the wall clock.

python -m tests.benchmarks.preprocess_threads --size quick
"""

import os
from functools import partial

import numpy as np

from tests.benchmarks.drawn import work_folder, write_films, write_index
from tests.benchmarks.measure import IMAGES_PER_S, OURS, Goal, Row, compare, interleave, require_equal, run_row, skip
from tests.benchmarks.preprocess_large import TARGET_PX, pack_ours

SIZES = {"full": (1_200, 1024, 2), "quick": (520, 1024, 2), "tiny": (4, 128, 1)}  # images, px, rounds
ONE, TWICE = "1 thread", "twice 1 thread"
NOTE = "wall clock, so other work on the machine counts against it, and so does beginning the processes"


def measure_rows(size: str) -> list[Row]:
    """Return one row."""
    count, size_px, rounds = SIZES[size]
    what = f"preprocess {size_px} px PNG with 2 threads"
    if len(os.sched_getaffinity(0)) < 2:
        return [skip(what, "this machine has one core", "1.9x")]
    with work_folder() as folder:
        films = folder / "films"
        index = write_index(films, write_films(films, size_px, count), folder / "index.csv")
        two, one = (partial(pack_ours, films, index, folder / f"{threads}.npy", threads) for threads in (2, 1))
        timings = interleave({OURS: two, ONE: one}, rounds)
        require_equal("pixels of 1 thread", float(np.any(timings.results[OURS] != timings.results[ONE])))
    rates = {name: [count / value for value in values] for name, values in timings.wall_s.items()}
    rates[TWICE] = [2 * rate for rate in rates[ONE]]
    what = f"{what} to {TARGET_PX} px"
    return [compare(what, IMAGES_PER_S, rates, peer=ONE, floor=TWICE, goal=Goal(1.9), note=NOTE)]


if __name__ == "__main__":
    run_row(measure_rows)
