"""Turns, ratios and verdicts of the table."""

import pytest

from tests.benchmarks import measure
from tests.benchmarks.measure import CPU_S, IMAGES_PER_CPU_S, OURS, Goal, Unit, compare, interleave, require_equal, skip


@pytest.fixture(autouse=True)
def _no_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for no garbage before every call: a process with torch in it takes a third of a second for that."""
    monkeypatch.setattr(measure.gc, "collect", lambda: 0)


def test_sides_take_turns_and_each_begins_a_round() -> None:
    calls: list[str] = []
    sides = {name: (lambda name=name: calls.append(name) or name) for name in "abc"}
    timings = interleave(sides, rounds=3)
    assert "".join(calls) == "abc" + "abc" + "bca" + "cab"
    assert {name: len(values) for name, values in timings.cpu_s.items()} == {"a": 3, "b": 3, "c": 3}
    assert timings.results == {"a": "a", "b": "b", "c": "c"}


def test_a_side_is_charged_what_it_computes_and_what_its_children_do(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(measure, "cpu_seconds", lambda: clock[0])

    def spend(seconds: float) -> None:
        clock[0] += seconds

    timings = interleave({"one": lambda: spend(1), "four": lambda: spend(4)}, rounds=2)
    assert timings.cpu_s == {"one": [1, 1], "four": [4, 4]}
    assert timings.rates({"one": 10, "four": 8}) == {"one": [10, 10], "four": [2, 2]}


@pytest.mark.parametrize(
    ("unit", "ours", "peer", "ratio"),
    [
        (IMAGES_PER_CPU_S, [300, 330], [100, 100], "3.15x (3.00-3.30)"),
        (CPU_S, [1.0, 1.1], [3.0, 3.3], "3.00x (3.00-3.00)"),
        (IMAGES_PER_CPU_S, [100, 50, 100], [50, 25, 50], "2.00x (2.00-2.00)"),  # it was busy in the second round
    ],
)
def test_ratios_say_round_by_round_how_many_times_as_good(
    unit: Unit, ours: list[float], peer: list[float], ratio: str
) -> None:
    assert compare("x", unit, {OURS: ours, "peer": peer}, peer="peer").ratio == ratio


@pytest.mark.parametrize(
    ("goal", "ours", "words"),
    [
        (Goal(2), [4.0], "2x: missed"),
        (Goal(2), [2.0], "2x: met"),
        (Goal(3, of_ratio=False), [4.0], "3 CPU-s: missed"),
        (Goal(3, of_ratio=False), [2.0], "3 CPU-s: met"),
    ],
)
def test_a_goal_is_met_or_missed(goal: Goal, ours: list[float], words: str) -> None:
    assert compare("x", CPU_S, {OURS: ours, "peer": [6.0]}, peer="peer", goal=goal).goal == words


def test_the_share_of_the_floor_is_at_most_all_of_it() -> None:
    assert compare("x", CPU_S, {OURS: [4.0], "floor": [3.0]}, floor="floor").share == "75 %"
    assert compare("x", IMAGES_PER_CPU_S, {OURS: [3.0], "floor": [4.0]}, floor="floor").share == "75 %"


def test_a_missing_peer_gives_no_ratio_and_no_verdict() -> None:
    row = compare("x", CPU_S, {OURS: [1.0]}, peer="timm", goal=Goal(2))
    assert (row.peer, row.ratio, row.goal) == ("timm: not installed", "", "2x")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([1234.0], "1,234"),
        ([12.345], "12.3"),
        ([0.01234], "0.0123"),
        ([0.0], "0"),
        ([90.0, 100.0, 110.0], "100 ± 10 %"),
    ],
)
def test_figures_have_three_digits_and_their_spread(values: list[float], text: str) -> None:
    assert measure.show(values) == text


def test_sides_that_differ_stop_a_row() -> None:
    require_equal("pixels", 0.0)
    with pytest.raises(measure.UnequalError, match="pixels: the sides differ by 2"):
        require_equal("pixels", 2.0, tolerance=1)
    with pytest.raises(measure.UnequalError):
        require_equal("pixels", float("nan"), tolerance=1)


def test_the_table_has_every_row_and_each_note_once() -> None:
    table = measure.format_table([skip("gpu a", "no GPU"), skip("gpu b", "no GPU"), skip("c", "one core")])
    assert table.count("no GPU") == 1
    assert "gpu b (1)" in table
    assert "c (2)" in table
