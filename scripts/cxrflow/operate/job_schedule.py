"""How long a graph of jobs takes: a list schedule within limits, and the chain that no limit can shorten. Pure."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cxrflow.errors import CxrflowError


@dataclass(frozen=True)
class Task:
    """One job of a schedule.

    Attributes:
        id: its number.
        seconds: how long it takes.
        after: numbers of the tasks that must end first.
        needs: what it takes of each limit while it runs.
        priority: ready tasks of a higher one start first.
    """

    id: int
    seconds: float
    after: frozenset[int] = frozenset()
    needs: Mapping[str, int] = field(default_factory=dict)
    priority: int = 0


def simulate(tasks: Sequence[Task], limits: Mapping[str, int]) -> dict[int, tuple[float, float]]:
    """Return when each task starts and ends, in seconds, if every task starts as soon as it may.

    Of the ready tasks the one with the highest priority, then the lowest number, starts first; one that does not fit
    yet lets later ones pass, as Snakemake's scheduler does.

    Raises:
        CxrflowError: a task alone needs more than a limit, or tasks wait for each other.
    """
    _check_fits(tasks, limits)
    free = dict(limits)
    waiting = {task.id: task for task in sorted(tasks, key=lambda task: (-task.priority, task.id))}
    times: dict[int, tuple[float, float]] = {}
    running: list[tuple[float, int]] = []
    by_id = {task.id: task for task in tasks}
    done: set[int] = set()
    now = 0.0
    while waiting or running:
        for task in [task for task in waiting.values() if task.after <= done]:
            if all(amount <= free[name] for name, amount in task.needs.items() if name in free):
                _take(free, task, -1)
                times[task.id] = (now, now + task.seconds)
                heapq.heappush(running, (now + task.seconds, task.id))
                del waiting[task.id]
        if not running:
            raise CxrflowError(f"jobs {', '.join(map(str, waiting))} wait for each other: the plan has a circle")
        now = running[0][0]
        while running and running[0][0] == now:
            _, ended = heapq.heappop(running)
            _take(free, by_id[ended], 1)
            done.add(ended)
    return times


def _check_fits(tasks: Sequence[Task], limits: Mapping[str, int]) -> None:
    for task in tasks:
        for name, amount in task.needs.items():
            if amount > limits.get(name, amount):
                raise CxrflowError(
                    f"job {task.id} asks for {name}={amount} and the profile allows {limits[name]}: raise the limit"
                )


def _take(free: dict[str, int], task: Task, sign: int) -> None:
    for name, amount in task.needs.items():
        if name in free:
            free[name] += sign * amount


def find_critical_path(tasks: Sequence[Task]) -> list[int]:
    """Return the chain of tasks, each waiting for the one before, that takes the longest: with no limit it decides."""
    by_id = {task.id: task for task in tasks}
    ends: dict[int, float] = {}
    for task in sort_by_dependency(tasks):
        ends[task.id] = task.seconds + max((ends[other] for other in task.after), default=0.0)
    chain: list[int] = []
    last: int | None = max(ends, key=lambda id_: ends[id_], default=None)
    while last is not None:
        chain.append(last)
        last = max(sorted(by_id[last].after), key=lambda id_: ends[id_], default=None)
    return chain[::-1]


def sort_by_dependency(tasks: Sequence[Task]) -> list[Task]:
    """Return the tasks so that each comes after those it waits for.

    Raises:
        CxrflowError: tasks wait for each other.
    """
    times = simulate([Task(task.id, 1.0, task.after) for task in tasks], {})
    return sorted(tasks, key=lambda task: times[task.id])
