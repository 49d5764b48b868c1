"""Reading many image files at once: bytes, their hash, their pixels and their hash.

Reads the dataset's image files. cv2 and hashlib release Python's lock, so threads are as good as processes for them and
cost no copies; what keeps the lock is shared among processes.
"""

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cxrflow.data.decode import DecodeError, decode_image
from cxrflow.data.workers import share_in_processes
from cxrflow.files.atomic import sha256_bytes

Item = TypeVar("Item")
Result = TypeVar("Result")

REPORT_EVERY_S = 5.0
AHEAD_PER_THREAD = 16  # enough that a slow image keeps no thread waiting
PROCESS_FROM = 250  # images for each process: a process takes half a second to begin, an image some milliseconds
PER_MESSAGE = 8  # images that a process is given at a time: it wakes up for each message


@dataclass(frozen=True)
class ImageFacts:
    """What the index keeps of one file; the fields are those of records.IndexRow."""

    width: int
    height: int
    mode: str
    sha256: str
    pixel_sha256: str


def read_facts(path: Path, max_mpx: float) -> ImageFacts | str:
    """Read and decode one file; return its facts, or the reason why it is unreadable."""
    try:
        data = path.read_bytes()
        decoded = decode_image(data, max_mpx)
    except DecodeError as error:
        return str(error)
    except FileNotFoundError:
        return "it is not there (a broken link?)"
    except OSError as error:
        return f"it cannot be opened: {os.strerror(error.errno or 0)}"
    return ImageFacts(decoded.width, decoded.height, decoded.mode, sha256_bytes(data), hash_pixels(decoded.gray))


def hash_pixels(gray: NDArray[np.uint8]) -> str:
    """Return the SHA-256 of uint8 (H, W) pixels and their shape: equal for duplicates, whatever their file format."""
    digest = hashlib.sha256(f"{gray.shape[0]}x{gray.shape[1]} ".encode())
    digest.update(np.ascontiguousarray(gray).data)
    return digest.hexdigest()


def map_in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int, ahead_per_thread: int = AHEAD_PER_THREAD
) -> Iterator[Result]:
    """Yield `function(item)` in the order of the items, computed by `threads` threads.

    Only a few results wait at any time, so a slow consumer does not fill the memory. What has not begun is dropped
    when the caller stops early or a call raises.
    """
    ahead: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(max_workers=threads) as pool:
        try:
            for item in items:
                ahead.append(pool.submit(function, item))
                if len(ahead) >= ahead_per_thread * threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def map_in_parallel(
    function: Callable[[Item], Result], items: Sequence[Item], threads: int, holds_lock: bool
) -> Iterator[Result]:
    """Yield `function(item)` in the order of the items, `threads` at a time.

    holds_lock: the function keeps Python's lock, so many items are shared among processes: the function, the items and
    the results must then be picklable.
    """
    if threads == 1:
        yield from map(function, items)
    elif holds_lock and len(items) >= PROCESS_FROM * threads:
        parts = [items[place : place + PER_MESSAGE] for place in range(0, len(items), PER_MESSAGE)]
        with share_in_processes(function, threads) as shared:
            for results, error in map_in_threads(shared, parts, threads, AHEAD_PER_THREAD // PER_MESSAGE):
                yield from results
                if error is not None:
                    raise error
    else:
        yield from map_in_threads(function, items, threads)


def report_progress(results: Iterator[Result], total: int, verb: str, done: int = 0) -> Iterator[Result]:
    """Pass results on and print how far it is every few seconds.

    done: results of an earlier run that `total` includes.
    """
    begin = last = time.monotonic()
    for number, result in enumerate(results, start=1):
        yield result
        now = time.monotonic()
        if now - last >= REPORT_EVERY_S:
            last = now
            print(f"{verb} {done + number:,} of {total:,} images ({number / (now - begin):,.0f} per second)")


def sequence_in_threads(
    function: Callable[[Item], Result], items: Sequence[Item], threads: int, verb: str
) -> Iterator[Result]:
    """Yield results in order, computed in threads, with progress lines."""
    return report_progress(map_in_parallel(function, items, threads, holds_lock=False), len(items), verb)
