"""New X-rays to answers: files found, decoded and preprocessed as in training, and read in batches.

Whatever the number of files, only a few images are in memory. A file that cannot be read stops no other.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrflow.config.settings import PreprocessSettings
from cxrflow.data.decode import DecodeError, decode_image
from cxrflow.data.preprocessing import Gray, preprocess_image
from cxrflow.data.readers.base import IMAGE_SUFFIXES, walk_images
from cxrflow.data.reading import map_in_threads
from cxrflow.deliver.session import DeliveredModel

BATCH_SIZE = 8  # larger ones are no faster on a CPU, and the first answer would come later


@dataclass(frozen=True)
class Answer:
    """What a model says of one file.

    Attributes:
        path: the file.
        probabilities: float64 (n_classes,), or None where the file could not be read.
        problem: why not, or empty.
    """

    path: Path
    probabilities: NDArray[np.float64] | None
    problem: str = ""


def find_xrays(places: Iterable[Path]) -> Iterator[Path]:
    """Yield files as they are, and every image below folders, sorted by name.

    A folder without images is yielded itself, and so is one that cannot be opened.
    """
    for place in places:
        if not place.is_dir():
            yield place
            continue
        closed: list[OSError] = []
        names = walk_images(place, on_closed=closed.append)
        yield from (place / name for name in names)
        yield from (Path(error.filename) for error in closed)
        if not names and not closed:
            yield place


def read_xray(path: Path, settings: PreprocessSettings, max_mpx: float) -> Gray | str:
    """Decode and preprocess one file: uint8 (size_px, size_px), or the reason why it cannot be read.

    max_mpx: refuse larger images before decoding them, megapixels.
    """
    try:
        if path.is_dir():
            os.listdir(path)  # raises where it cannot be opened
            return f"this folder holds no image (files that end in {', '.join(IMAGE_SUFFIXES)})"
        return preprocess_image(decode_image(path.read_bytes(), max_mpx).gray, settings)
    except DecodeError as error:
        return str(error)
    except FileNotFoundError:
        return "it does not exist"
    except OSError as error:
        return f"it cannot be opened: {os.strerror(error.errno or 0)}"


def answer_files(model: DeliveredModel, paths: Iterable[Path], threads: int, max_mpx: float) -> Iterator[Answer]:
    """Yield one answer per file, in their order, a batch at a time.

    threads: files decoded at once.
    """
    cv2.setNumThreads(1)  # the threads here are enough; each of them would start its own
    read = partial(_read_beside_path, settings=model.card.preprocess, max_mpx=max_mpx)
    images = map_in_threads(read, paths, threads)
    while batch := list(islice(images, BATCH_SIZE)):
        yield from _answer_batch(model, batch)


def _read_beside_path(path: Path, settings: PreprocessSettings, max_mpx: float) -> tuple[Path, Gray | str]:
    return path, read_xray(path, settings, max_mpx)


def _answer_batch(model: DeliveredModel, batch: list[tuple[Path, Gray | str]]) -> Iterator[Answer]:
    images = [found for _, found in batch if not isinstance(found, str)]
    rows = iter(model.predict(np.stack(images)) if images else ())
    for path, found in batch:
        yield Answer(path, None, found) if isinstance(found, str) else Answer(path, next(rows))
