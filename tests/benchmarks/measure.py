"""Time several ways of doing one thing side by side, and turn the figures into rows of a table.

CPU-seconds count, not the wall clock: the machine may be shared. The sides take turns within every round, so whatever
slows the machine for a while slows all of them, and ratios are taken round by round. Nothing here judges: no row fails
because something was slow, only because two sides that must agree do not.
"""

import gc
import importlib.util
import math
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
Timed = tuple[float, float, Any]  # CPU-seconds, seconds on the wall clock, result
SIZES = ("full", "quick", "tiny")  # tiny shows only that a row runs
OURS = "ours"
NOT_MEASURED, NOT_INSTALLED = "not measured", "not installed"
COLUMNS = ("what", "ours", "peer", "floor", "ratio to peer", "goal", "share of the floor")


class Unit(NamedTuple):
    """What a figure counts, and whether more of it is better."""

    text: str
    more_is_better: bool


IMAGES_PER_CPU_S = Unit("images/CPU-s", True)
IMAGES_PER_S = Unit("images/s", True)
CPU_S = Unit("CPU-s", False)
WALL_S = Unit("s", False)
MIB = Unit("MiB", False)


class Goal(NamedTuple):
    """A figure to reach: of the ratio to the peer, or of ours itself (`of_ratio` False), in the row's unit."""

    value: float
    of_ratio: bool = True


@dataclass(frozen=True)
class Timings:
    """Seconds per round of every side, in CPU time and on the wall clock, and what each side returned last."""

    cpu_s: dict[str, list[float]]
    wall_s: dict[str, list[float]]
    results: dict[str, Any]

    def rates(self, amounts: Mapping[str, int] | int) -> dict[str, list[float]]:
        """Return amount per CPU-second for every side; one amount for all, or one each."""
        each = {name: amounts if isinstance(amounts, int) else amounts[name] for name in self.cpu_s}
        return {name: [each[name] / value for value in values] for name, values in self.cpu_s.items()}


@dataclass(frozen=True)
class Row:
    """One line of the table, and the figures of every round behind it."""

    what: str
    ours: str = ""
    peer: str = ""
    floor: str = ""
    ratio: str = ""
    goal: str = ""
    share: str = ""
    note: str = ""
    values: dict[str, list[float]] = field(default_factory=dict)

    def cells(self) -> list[str]:
        """Return the cells under COLUMNS."""
        return [self.what, self.ours, self.peer or "-", self.floor or "-", self.ratio, self.goal, self.share]


class UnequalError(Exception):
    """Two sides that must give equal results do not."""


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its children that have ended, user and system."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def child_environment() -> dict[str, str]:
    """Return the environment of a process that finds the library and whatever this one finds, and keeps compiled code.

    So a user's second start is measured, not the first.
    """
    search = [str(ROOT / "scripts"), os.environ.get("PYTHONPATH", "")]
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, search))}


def run_python(*arguments: str | Path, status: int = 0) -> None:
    """Run Python in a process of its own, from the repository's root.

    Raises:
        RuntimeError: it ended with another status.
    """
    command = [sys.executable, *map(str, arguments)]
    run = subprocess.run(command, cwd=ROOT, env=child_environment(), capture_output=True, text=True, check=False)
    if run.returncode != status:
        raise RuntimeError(f"{command[1]} ended with status {run.returncode}: {run.stdout[-500:]}{run.stderr[-2000:]}")


def time_call(call: Callable[[], Any]) -> Timed:
    """Call once; return CPU-seconds, seconds on the wall clock, and the result."""
    gc.collect()
    cpu_s, wall_s = cpu_seconds(), time.perf_counter()
    result = call()
    return cpu_seconds() - cpu_s, time.perf_counter() - wall_s, result


def interleave(sides: Mapping[str, Callable[[], Any]], rounds: int, warm_up: bool = True) -> Timings:
    """Time every side once per round; each round begins with another side.

    sides: by name, what to call.
    warm_up: call every side once before, untimed.
    """
    return take_turns({name: partial(time_call, call) for name, call in sides.items()}, rounds, warm_up)


def take_turns(sides: Mapping[str, Callable[[], Timed]], rounds: int, warm_up: bool = True) -> Timings:
    """As `interleave`, of sides that time themselves."""
    results = {name: timed()[2] for name, timed in sides.items()} if warm_up else {}
    timings = Timings({name: [] for name in sides}, {name: [] for name in sides}, results)
    names = [*sides]
    for number in range(rounds):
        turn = number % len(names)
        for name in [*names[turn:], *names[:turn]]:
            cpu_s, wall_s, results[name] = sides[name]()
            timings.cpu_s[name].append(cpu_s)
            timings.wall_s[name].append(wall_s)
    return timings


def compare(
    what: str,
    unit: Unit,
    values: Mapping[str, Sequence[float]],
    *,
    peer: str = "",
    floor: str = "",
    goal: Goal | None = None,
    note: str = "",
) -> Row:
    """Make a row of the figures of `ours`, a peer and a floor; a side without figures says that it is missing.

    values: per side, one figure per round, in `unit`.
    """
    ours = values[OURS]
    ratios = divide_rounds(ours, values[peer], unit) if peer in values else []
    shares = divide_rounds(ours, values[floor], unit) if floor in values else []
    return Row(
        what=what,
        ours=f"{show(ours)} {unit.text}",
        peer=_cell(peer, values),
        floor=_cell(floor, values),
        ratio=_show_ratio(ratios),
        goal=judge(goal, ratios, ours, unit),
        share=f"{100 * statistics.median(shares):.0f} %" if shares else "",
        note=note,
        values={name: [*values[name]] for name in (OURS, peer, floor) if name in values},
    )


def divide_rounds(ours: Sequence[float], others: Sequence[float], unit: Unit) -> list[float]:
    """Return per round how many times as good ours is; a side measured once serves every round."""
    if len(others) == 1:
        others = [*others] * len(ours)
    pairs = zip(ours, others, strict=True)
    return [a / b if unit.more_is_better else b / a for a, b in pairs if (b if unit.more_is_better else a) > 0]


def judge(goal: Goal | None, ratios: Sequence[float], ours: Sequence[float], unit: Unit) -> str:
    """Return the goal and, where its figure is there, whether it is met."""
    if goal is None:
        return ""
    text, figures = (f"{goal.value:g}x", ratios) if goal.of_ratio else (f"{goal.value:g} {unit.text}", ours)
    if not figures:
        return text
    sign = 1 if goal.of_ratio or unit.more_is_better else -1
    return f"{text}: {'met' if sign * statistics.median(figures) >= sign * goal.value else 'missed'}"


def show(values: Sequence[float]) -> str:
    """Return the median to three digits and, of several rounds, half the range between them in percent."""
    middle = statistics.median(values)
    if len(values) == 1 or middle == 0:
        return round_digits(middle)
    return f"{round_digits(middle)} ± {50 * (max(values) - min(values)) / abs(middle):.0f} %"


def round_digits(value: float) -> str:
    """Return a number with three digits that count, or all before the point."""
    if value == 0:
        return "0"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def _show_ratio(ratios: Sequence[float]) -> str:
    if not ratios:
        return ""
    spread = f" ({min(ratios):.2f}-{max(ratios):.2f})" if len(ratios) > 1 else ""
    return f"{statistics.median(ratios):.2f}x{spread}"


def _cell(side: str, values: Mapping[str, Sequence[float]]) -> str:
    if not side:
        return ""
    return f"{side}: {show(values[side]) if side in values else NOT_INSTALLED}"


def skip(what: str, why: str, goal: str = "") -> Row:
    """Return a row that says that it was not measured, and why."""
    return Row(what, ours=NOT_MEASURED, goal=goal, note=why)


def is_installed(module: str) -> bool:
    """Return whether a peer's module is there."""
    return importlib.util.find_spec(module) is not None


def require_equal(what: str, difference: float, tolerance: float = 0.0) -> None:
    """Check that two sides agree.

    Raises:
        UnequalError: they differ by more than the tolerance, or by NaN.
    """
    if not difference <= tolerance:
        raise UnequalError(f"{what}: the sides differ by {difference:g}, more than {tolerance:g}")


def format_table(rows: Sequence[Row]) -> str:
    """Return rows as a Markdown table, and below it their notes, numbered."""
    from tabulate import tabulate

    notes = [*dict.fromkeys(row.note for row in rows if row.note)]
    cells = [row.cells() for row in rows]
    for row, line in zip(rows, cells, strict=True):
        if row.note:
            line[0] += f" ({notes.index(row.note) + 1})"
    table = tabulate(cells, headers=COLUMNS, tablefmt="github", disable_numparse=True)
    return "\n".join([table, "", *(f"{number}. {note}" for number, note in enumerate(notes, start=1))])
