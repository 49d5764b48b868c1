"""Sides in processes of their own, because how a process keeps its memory is part of its speed.

Ours keeps what it has freed, as its stages do (cxrflow.models.devices), and a peer runs as it comes. They live for
all rounds, and only one works at a time.
"""

import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import torch

from cxrflow.models.devices import keep_freed_memory
from tests.benchmarks.measure import Timed, Timings, take_turns, time_call

# Makes sides by name, in their process; it and what the sides return must be picklable.
Group = Callable[[], Mapping[str, Callable[[], Any]]]
LOADED_ONCE = ["torch", "torchvision", "cxrflow.models.training"]  # the processes are forks of one that has them


def interleave_processes(ours: Group, others: Group, rounds: int) -> Timings:
    """Time the sides of two groups in turns, as `interleave`, on one thread each.

    Raises:
        RuntimeError: a side raised; its own message is in it.
    """
    with _serve(ours, keeps_memory=True) as first, _serve(others, keeps_memory=False) as second:
        return take_turns({**first, **second}, rounds)


@contextmanager
def _serve(group: Group, keeps_memory: bool) -> Iterator[dict[str, Callable[[], Timed]]]:
    """Start the process of a group; give its sides."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED_ONCE)
    near, far = context.Pipe()
    process = context.Process(target=_answer, args=(group, keeps_memory, far), daemon=True)
    process.start()
    far.close()
    try:
        yield {name: partial(_ask, near, name) for name in _receive(near)}
    finally:
        near.close()
        process.terminate()
        process.join()


def _answer(group: Group, keeps_memory: bool, connection: Connection) -> None:
    """Time a side whenever its name arrives."""
    if keeps_memory:
        keep_freed_memory()
    torch.set_num_threads(1)
    try:
        sides = group()
        connection.send([*sides])
        while True:
            connection.send(time_call(sides[connection.recv()]))
    except EOFError:
        return
    except Exception as error:
        connection.send(error)


def _ask(connection: Connection, name: str) -> Timed:
    connection.send(name)
    timed: Timed = _receive(connection)
    return timed


def _receive(connection: Connection) -> Any:
    """Return what a process says."""
    answer = connection.recv()
    if isinstance(answer, Exception):
        raise RuntimeError(f"a side of the benchmark failed: {type(answer).__name__}: {answer}") from answer
    return answer
