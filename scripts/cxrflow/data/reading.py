"""Reading many image files at once: bytes, their hash, their pixels and their hash.

Reads the dataset's image files. cv2 and hashlib release Python's lock, so threads are as good as processes for them and
cost no copies; what keeps the lock is shared among processes.
"""

import hashlib
import multiprocessing
import os
import signal
import stat
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrflow.data.decode import decode_image
from cxrflow.data.hashing import shrink
from cxrflow.data.headers import DecodeError
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import sha256_bytes

Item = TypeVar("Item")
Result = TypeVar("Result")

REPORT_EVERY_S = 5.0
AHEAD_PER_THREAD = 16  # enough that a slow image keeps no thread waiting
PROCESS_FROM = 250  # images for each process: a process takes half a second to begin, an image some milliseconds
MOST_BYTES_PER_PX = 8  # four channels of 16 bits, not compressed
METADATA_BYTES = 16 * 2**20  # thumbnails, profiles and comments beside the pixels
NO_MEMORY = "it needs more memory than there is: lower max_image_mpx, or ask for more"
PER_MESSAGE = 8  # images sent to a process at a time: it wakes up for each message


@dataclass(frozen=True)
class ImageFacts:
    """What the index keeps of one file: fields of records.IndexRow, its thumbnail, uint8 (128, 128), and notes."""

    width: int
    height: int
    mode: str
    sha256: str
    pixel_sha256: str
    size_bytes: int
    thumbnail: NDArray[np.uint8] = field(compare=False)
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> dict[str, Any]:
        """Those of index.csv."""
        return {name: value for name, value in vars(self).items() if name not in ("thumbnail", "notes")}


def read_image_file(path: Path, max_mpx: float) -> bytes:
    """Read a file's bytes, unless no image of at most `max_mpx` megapixels can be so large.

    Raises:
        DecodeError: it is larger, or a pipe, socket or device, which may never end.
        OSError: it cannot be opened.
    """
    status = path.stat()
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise DecodeError("it is a pipe, a socket or a device, not a file")
    if status.st_size > max_mpx * 1e6 * MOST_BYTES_PER_PX + METADATA_BYTES:
        raise DecodeError(
            f"it has {status.st_size / 1e9:,.1f} GB, and no image of {max_mpx:g} megapixels is so large (max_image_mpx)"
        )
    return path.read_bytes()


def read_facts(path: Path, max_mpx: float) -> ImageFacts | str:
    """Read and decode one file; return its facts, or the reason why it is unreadable."""
    try:
        data = read_image_file(path, max_mpx)
        decoded = decode_image(data, max_mpx)
    except DecodeError as error:
        return str(error)
    except FileNotFoundError:
        return "it does not exist (a broken link?)"
    except OSError as error:
        return f"it cannot be opened: {os.strerror(error.errno or 0)}"
    except MemoryError:
        return NO_MEMORY
    gray = decoded.gray
    hashes = sha256_bytes(data), hash_pixels(gray)
    return ImageFacts(decoded.width, decoded.height, decoded.mode, *hashes, len(data), shrink(gray), decoded.notes)


def hash_pixels(gray: NDArray[np.uint8]) -> str:
    """Return the SHA-256 of uint8 (H, W) pixels and their shape: equal for equal pixels, whatever the file format."""
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
    started: dict[int | None, BaseProcess] = {}

    def cut() -> Iterator[Sequence[Item]]:
        for place in range(0, len(items), PER_MESSAGE):
            started.update({child.pid: child for child in multiprocessing.active_children()} if place else {})
            yield items[place : place + PER_MESSAGE]

    try:
        ahead = AHEAD_PER_THREAD // PER_MESSAGE * count
        for results in _map_ahead(executor, partial(_call_each, function), cut(), ahead):
            yield from results
    except BrokenProcessPool:
        raise CxrflowError(
            f"a process that preprocesses images {describe_end([child.exitcode for child in started.values()])}; run"
            " the same command again, which resumes where it was"
        ) from None


def describe_end(codes: Iterable[int | None]) -> str:
    """Say how the first of several processes ended, from their exit statuses (signals negative), and what may help.

    The pool itself ends the others with SIGTERM.
    """
    ended = sorted(code for code in codes if code)  # None: the system has not told yet
    number = next((-code for code in ended if code < 0 and code != -signal.SIGTERM), 0)
    if not number and any(code > 0 for code in ended):
        return f"ended by itself with status {max(ended)}, and what it printed is above"
    if not number:
        return "was ended from outside (SIGTERM), or nobody knows how"
    name = signal.Signals(number).name if number in set(signal.Signals) else "unknown"
    causes: dict[int, str] = {
        signal.SIGKILL: ": memory that ran out is one cause (ask for more, or for fewer threads), a cluster's limit or"
        " a user another",
        signal.SIGBUS: ": a full disk or a file that shrank while it was read are the usual causes",
        signal.SIGSEGV: ": a library crashed, perhaps on a damaged file; fewer threads show after which image",
    }
    return f"was killed by signal {number} ({name}){causes.get(number, '')}"


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
