"""Processes that share the work where threads cannot: kornia_rs keeps Python's lock while it decodes.

Each process is fed by one pipe of its own, so that it ends by itself when the process that began it is killed: nobody
else holds the pipe's other end.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, TypeVar

import cv2

from cxrflow.errors import CxrflowError

WHY: dict[int | None, str] = {
    -signal.SIGKILL: "most likely because memory ran out: ask for more memory, or for fewer threads"
}
PRINTED = "and what it said last stands above: run the same command again, which goes on from there"

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def share_in_processes(
    function: Callable[[Item], Result], count: int
) -> Iterator[Callable[[Sequence[Item]], tuple[list[Result], Exception | None]]]:
    """Give what `answer_all` does with a function, done by one of `count` processes; call it from as many threads.

    function, items and results are pickled. A process that ends by itself is a CxrflowError.
    """
    idle: SimpleQueue[Worker] = SimpleQueue()

    def call(items: Sequence[Item]) -> tuple[list[Result], Exception | None]:
        worker = idle.get()
        try:
            return worker.call(items)
        finally:
            idle.put(worker)

    with ExitStack() as stack:
        for _ in range(count):
            worker = Worker(function)
            stack.callback(worker.end)
            idle.put(worker)
        yield call


class Worker:
    """One process and this side of its pipe."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        # "spawn": a fork would copy the locks that other threads hold, such as the one that keeps the lease alive
        context = multiprocessing.get_context("spawn")
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # of numpy's matrix products: a process is one of many
        self.pipe, other_end = context.Pipe()
        self.process = context.Process(target=serve, args=(function, other_end), daemon=True)
        self.process.start()
        other_end.close()  # so that the pipe breaks when the process ends

    def call(self, items: Sequence[Any]) -> tuple[list[Any], Exception | None]:
        """Compute some items there."""
        try:
            self.pipe.send(items)
            results, error = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            status = self.process.exitcode
            raise CxrflowError(
                f"a process that preprocesses images ended by itself (exit code {status}), {WHY.get(status, PRINTED)}"
            ) from None
        return results, error

    def end(self) -> None:
        """Let the process end and wait for it."""
        self.pipe.close()
        self.process.join()


def serve(function: Callable[[Any], Any], pipe: Connection) -> None:
    """Answer messages of items until the pipe breaks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the one who asks decides
    cv2.setNumThreads(1)
    with suppress(EOFError, OSError):
        while True:
            pipe.send(answer_all(function, pipe.recv()))


def answer_all(function: Callable[[Item], Result], items: Sequence[Item]) -> tuple[list[Result], Exception | None]:
    """Return the results up to the first error that the function raises, and that error or None."""
    results: list[Result] = []
    try:
        for item in items:
            results.append(function(item))
    except Exception as error:  # it is raised again on the other side
        return results, error
    return results, None
