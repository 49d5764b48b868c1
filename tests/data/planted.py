r"""Planted copies: how many of each kind the search finds again, and whether it takes different exposures for copies.

    python -m tests.data.planted                          200 phantoms
    python -m tests.data.planted --folder DIR --count 250 X-rays below a folder, drawn at random

Prints a line per kind: the share of copies found, its 95 % interval (Wilson), and the lowest and the fifth percentile
of the correlations of the candidates; then the pairs of different originals that were taken for copies.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from cxrflow.data.copies import COPY, find_copies, judge_candidate
from cxrflow.data.decode import decode_image
from cxrflow.data.hashing import find_candidates, shrink
from cxrflow.data.readers.base import walk_images
from phantoms.render import synthesise_image
from tests.benchmarks.inputs import CLASSES, make_task

Gray = NDArray[np.uint8]


def cut(film: Gray, top: float, bottom: float, left: float, right: float) -> Gray:
    """Cut these shares of the height and width off."""
    height, width = film.shape
    return film[
        round(top * height) : height - round(bottom * height), round(left * width) : width - round(right * width)
    ]


def turn(film: Gray, degrees: float) -> Gray:
    """Turn a film about its middle; the corners are black."""
    height, width = film.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    return np.asarray(cv2.warpAffine(film, matrix, (width, height)), np.uint8)


def save_jpeg(film: Gray, quality: int) -> Gray:
    """Save as JPEG and read again."""
    data = cv2.imencode(".jpg", film, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)


def write_label(film: Gray) -> Gray:
    """Burn a label into the upper left corner."""
    marked, (height, width) = film.copy(), film.shape
    cv2.putText(marked, "PORTABLE 12", (width // 20, height // 8), 0, width / 400, 255, max(1, width // 120))
    return marked


def brighten(film: Gray, gamma: float) -> Gray:
    """Apply a gamma."""
    return np.round(255 * (film / 255) ** gamma).astype(np.uint8)


KINDS: dict[str, Callable[[Gray], Gray]] = {
    "jpeg, quality 30": lambda film: save_jpeg(film, 30),
    "resized": lambda film: np.asarray(cv2.resize(film, (299, 299)), np.uint8),
    "gamma 0.6": lambda film: brighten(film, 0.6),
    "gamma 1.6": lambda film: brighten(film, 1.6),
    "equalised": lambda film: np.asarray(cv2.equalizeHist(film), np.uint8),
    "label": write_label,
    "cut 2 %": lambda film: cut(film, 0.02, 0.02, 0.02, 0.02),
    "cut 5 %": lambda film: cut(film, 0.05, 0.05, 0.05, 0.05),
    "cut 10 %": lambda film: cut(film, 0.1, 0.1, 0.1, 0.1),
    "turned 3 degrees": lambda film: turn(film, 3),
    "mirrored": lambda film: np.ascontiguousarray(film[:, ::-1]),
    "inverse": lambda film: 255 - film,
}
HARD: dict[str, Callable[[Gray], Gray]] = {  # known to be missed in part
    "cut unevenly, 0 to 10 %": lambda film: cut(film, *np.random.default_rng(int(film.sum())).uniform(0, 0.1, 4)),
    "cut 10 % at one side": lambda film: cut(film, 0.1, 0, 0, 0),
    "CLAHE": lambda film: np.asarray(cv2.createCLAHE(2.0, (8, 8)).apply(film), np.uint8),
}


def draw_films(count: int, seed: int, size_px: int = 160) -> list[Gray]:
    """Draw phantoms of different patients."""
    labels = list(CLASSES)
    tasks = [make_task(labels[number % len(labels)], number, size_px) for number in range(count)]
    return [synthesise_image(task, seed).pixels for task in tasks]


def read_films(folder: Path, count: int) -> list[Gray]:
    """Read images below a folder, drawn at random, at most 1024 px of a side."""
    paths = walk_images(folder)
    chosen = np.sort(np.random.default_rng(0).choice(len(paths), min(count, len(paths)), replace=False))
    return [decode_image((folder / paths[number]).read_bytes()).gray for number in chosen]


def measure_recall(films: list[Gray], kind: Callable[[Gray], Gray]) -> tuple[int, NDArray[np.float64]]:
    """Return how many copies are found among all films and copies, and the correlations of all candidates."""
    n = len(films)
    thumbnails = [shrink(film) for film in films] + [shrink(kind(film)) for film in films]
    planted = [each for each in find_candidates(thumbnails) if abs(each[0] - each[1]) == n]
    judged = np.array([judge_candidate(thumbnails, each).correlation for each in planted])
    return int((judged >= COPY).sum()), judged


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--count", type=int, default=200)
    flags = parser.parse_args()
    cv2.setNumThreads(1)
    films = read_films(flags.folder, flags.count) if flags.folder else draw_films(flags.count, seed=0)
    for name, kind in (KINDS | HARD).items():
        found, judged = measure_recall(films, kind)
        low, high = binomtest(found, len(films)).proportion_ci(method="wilson")
        lowest, fifth = (judged.min(), np.percentile(judged, 5)) if len(judged) else (np.nan, np.nan)
        share = f"{found / len(films):.3f} ({low:.3f}-{high:.3f})"
        print(f"{name:24} {share} of {len(films)}, correlation {lowest:.3f}, {fifth:.3f}", flush=True)
    pairs = find_copies([shrink(film) for film in films], threads=1)
    n_copies = sum(each.is_copy for each in pairs)
    highest = max((each.correlation for each in pairs if not each.is_copy), default=0.0)
    print(f"of {len(films) * (len(films) - 1) // 2:,} pairs of originals {n_copies} are copies, the next {highest:.3f}")


if __name__ == "__main__":
    main()
