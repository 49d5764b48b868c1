"""Reading many image files at once: bytes, their hash, their pixels and their hash.

Reads the dataset's image files. cv2 and hashlib release Python's lock, so threads are as good as processes for them and
cost no copies; what keeps the lock is shared among processes.
"""

import hashlib
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrflow.data.decode import decode_image
from cxrflow.data.headers import DecodeError
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import sha256_bytes

Item = TypeVar("Item")
Result = TypeVar("Result")

REPORT_EVERY_S = 5.0
AHEAD_PER_THREAD = 16  # enough that a slow image keeps no thread waiting
PROCESS_FROM = 250  # images for each process: a process takes half a second to begin, an image some milliseconds
PER_MESSAGE = 8  # images sent to a process at a time: it wakes up for each message


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
        return "it does not exist (a broken link?)"
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
    yield from _map_ahead(ThreadPoolExecutor(max_workers=threads), function, items, ahead_per_thread * threads)


def _map_ahead(
    executor: Executor, function: Callable[[Item], Result], items: Iterable[Item], limit: int
) -> Iterator[Result]:
    ahead: deque[Future[Result]] = deque()
    with executor:
        try:
            for item in items:
                ahead.append(executor.submit(function, item))
                if len(ahead) >= limit:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            executor.shutdown(cancel_futures=True)


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
        yield from map_in_processes(function, items, threads)
    else:
        yield from map_in_threads(function, items, threads)


def map_in_processes(function: Callable[[Item], Result], items: Sequence[Item], count: int) -> Iterator[Result]:
    """Yield `function(item)` in the order of the items, computed by `count` processes, which end with this one.

    Raises:
        CxrflowError: a process was killed.
    """
    # "spawn": a fork would copy the locks that other threads hold, such as the one that keeps the lease alive
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(count, mp_context=context, initializer=prepare_process)
    parts = (items[place : place + PER_MESSAGE] for place in range(0, len(items), PER_MESSAGE))
    try:
        ahead = AHEAD_PER_THREAD // PER_MESSAGE * count
        for results in _map_ahead(executor, partial(_call_each, function), parts, ahead):
            yield from results
    except BrokenProcessPool:
        raise CxrflowError(
            "a process that preprocesses images was killed, most likely because memory ran out: ask for more memory or"
            " for fewer threads, and run the same command again, which resumes where it was"
        ) from None


def _call_each(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [function(item) for item in items]


def prepare_process() -> None:
    """Set up a process that shares the work: one thread of cv2, no Ctrl-C of its own, and an end with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent decides
    cv2.setNumThreads(1)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()  # returns when the parent has ended, even by SIGKILL
        os._exit(1)


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
