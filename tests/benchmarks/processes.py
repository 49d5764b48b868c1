"""Sides in two processes, because how a process keeps its memory is part of its speed.

Ours keeps what it has freed, as its stages do (cxrflow.models.devices), and peers run as they come. The processes live
for all rounds, and only one works at a time.
"""

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import torch

from cxrflow.models.devices import keep_freed_memory
from tests.benchmarks.measure import Timed, Timings, take_turns, time_call

Sides = Mapping[str, Callable[[], Any]]
LOADED_ONCE = ["torch", "torchvision", "cxrflow.models.training"]  # the processes are forks of one that has them
_sides: dict[str, Callable[[], Any]] = {}


def interleave_processes(make_sides: Callable[[], Sides], peers: Sequence[str], rounds: int) -> Timings:
    """Time sides in turns, as `interleave`, on one thread each: the peers in one process, all others in another.

    make_sides: called in both; it and what the sides return must be picklable.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED_ONCE)
    with ProcessPoolExecutor(1, context) as first, ProcessPoolExecutor(1, context) as second:
        ours = first.submit(_begin, make_sides, peers, True).result()
        others = second.submit(_begin, make_sides, peers, False).result()
        pools = dict.fromkeys(ours, first) | dict.fromkeys(others, second)
        return take_turns({name: partial(_ask, pool, name) for name, pool in pools.items()}, rounds)


def _begin(make_sides: Callable[[], Sides], peers: Sequence[str], is_ours: bool) -> list[str]:
    """Make the sides of this process and return their names."""
    if is_ours:
        keep_freed_memory()
    torch.set_num_threads(1)
    _sides.update({name: side for name, side in make_sides().items() if (name in peers) != is_ours})
    return [*_sides]


def _ask(pool: ProcessPoolExecutor, name: str) -> Timed:
    return pool.submit(_time, name).result()


def _time(name: str) -> Timed:
    return time_call(_sides[name])
