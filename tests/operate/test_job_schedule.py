"""Schedules of graphs whose answers are known by hand."""

import pytest

from cxrflow.errors import CxrflowError
from cxrflow.operate.job_schedule import Task, find_critical_path, simulate, sort_by_dependency


def task(id_: int, seconds: float, *after: int, priority: int = 0, **needs: int) -> Task:
    return Task(id_, seconds, frozenset(after), needs or {"jobs": 1}, priority)


DIAMOND = [task(4, 1, 2, 3), task(2, 5, 1), task(3, 7, 1), task(1, 2)]


@pytest.mark.parametrize(("jobs", "wall_s"), [(1, 15), (2, 10), (50, 10)])
def test_a_diamond_takes_its_longer_side_or_its_sum(jobs: int, wall_s: float) -> None:
    assert max(end for _, end in simulate(DIAMOND, {"jobs": jobs}).values()) == wall_s


def test_the_longer_side_is_the_critical_path() -> None:
    assert find_critical_path(DIAMOND) == [1, 3, 4]
    assert [each.id for each in sort_by_dependency(DIAMOND)] == [1, 2, 3, 4]
    assert find_critical_path([]) == []


def test_priority_decides_between_ready_tasks() -> None:
    times = simulate([task(1, 3), task(2, 4, priority=9), task(3, 1)], {"jobs": 1})
    assert times == {2: (0, 4), 1: (4, 7), 3: (7, 8)}


def test_a_task_that_does_not_fit_lets_later_ones_pass() -> None:
    tasks = [task(1, 4, cores=2, gpu=1), task(2, 4, cores=1, gpu=1), task(3, 4, cores=2)]
    assert simulate(tasks, {"cores": 4, "gpu": 1}) == {1: (0, 4), 3: (0, 4), 2: (4, 8)}


def test_only_named_limits_count() -> None:
    assert max(end for _, end in simulate([task(i, 3, gpu=1) for i in range(9)], {"jobs": 9}).values()) == 3


def test_what_can_never_run_is_an_error() -> None:
    with pytest.raises(CxrflowError, match="gpu=2 and the profile allows 1"):
        simulate([task(1, 1, gpu=2)], {"gpu": 1})
    with pytest.raises(CxrflowError, match="wait for each other"):
        simulate([task(1, 1, 2), task(2, 1, 1)], {"jobs": 1})
