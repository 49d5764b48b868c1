"""How numbers are written for people: in tables and sentences by their kind, in a terminal as durations and sizes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

# How many test patients a score needs, of every class that it rests on. Under 30 it is flagged: the least number that
# the US health statistics publish a share of (Parker et al. 2017, Vital and Health Statistics 2(175)). Under 10 it has
# no interval: a variance from m patients is itself known to sqrt(2 / (m - 1)) of its size, which is half of it.
FEW_PATIENTS = 30
MIN_PATIENTS = 10
FEW_SIGN = "‡"
LEAST_SHOWN_P = 0.001  # a smaller p value is not written as 0


@dataclass(frozen=True)
class Kind:
    """How values of one kind are read from CSV, written for people, and aligned.

    Attributes:
        read: from the CSV's text.
        show: to text for people.
        finer: the same with more digits, for an interval whose ends would look equal.
        align: `left` or `right`.
        between: what stands between the two ends of an interval.
    """

    read: Callable[[str], Any]
    show: Callable[[Any], str]
    finer: Callable[[Any], str] = str
    align: str = "right"
    between: str = "–"

    def show_interval(self, value: Any, low: Any, high: Any, n_patients: int | None = None) -> str:
        """Return `0.81 (0.76–0.85)`, or only the value where there is no interval; few patients are flagged."""
        mark = mark_patients(n_patients)
        if low is None or high is None:
            return self.show(value) + mark
        show = self.finer if self.show(low) == self.show(high) else self.show
        return f"{show(value)} ({show(low)}{self.between}{show(high)}){mark}"


def mark_patients(n_patients: int | None) -> str:
    """Return what stands behind a score that rests on few patients of a class; nothing where they are not counted."""
    if n_patients is None or n_patients >= FEW_PATIENTS:
        return ""
    return f" {FEW_SIGN}" if n_patients >= MIN_PATIENTS else " (too few patients)"


def format_signed(value: float, decimals: int = 2) -> str:
    """Return some decimals with a sign; what rounds to zero has none."""
    text = f"{abs(value):.{decimals}f}"
    return text if float(text) == 0 else ("+" if value > 0 else "−") + text


def format_share(value: float, decimals: int = 0) -> str:
    """Return a share in percent: 0.23 is `23 %`; one below zero, which a ratio may be, has a minus sign."""
    return f"{100 * value:.{decimals}f} %".replace("-", "−")


def format_significant(value: float) -> str:
    """Return three significant digits without an exponent, thousands grouped: 0.217, 12.4, 1,350."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    decimals = 2
    while abs(value) * 10**decimals < 100 and decimals < 6:
        decimals += 1
    return f"{value:.{1 if abs(value) >= 10 else decimals}f}"


KINDS = {
    "text": Kind(str, str, align="left"),
    "count": Kind(int, lambda value: f"{value:,}"),
    "score": Kind(float, lambda value: f"{value:.2f}", lambda value: f"{value:.4f}"),
    "difference": Kind(float, format_signed, lambda value: format_signed(value, 4), between=" to "),
    "loss": Kind(float, lambda value: f"{value:.3f}", lambda value: f"{value:.5f}"),
    "thousandths": Kind(float, lambda value: f"{value:.3f}", lambda value: f"{value:.5f}"),
    "p": Kind(float, lambda value: f"{value:.3f}" if value >= LEAST_SHOWN_P else f"<{LEAST_SHOWN_P}"),
    "tenths": Kind(float, lambda value: f"{value:,.1f}", lambda value: f"{value:,.3f}"),
    "share": Kind(float, format_share, lambda value: format_share(value, 2), between=" to "),
    "amount": Kind(float, format_significant, lambda value: f"{value:,.6g}"),
}

UNITS_S = ((172_800, 86_400, "days"), (5_400, 3_600, "h"), (90, 60, "min"), (0, 1, "s"))
UNITS_BYTES = ((1 << 30, "GiB"), (1 << 20, "MiB"), (0, "KiB"))


def format_duration(seconds: float) -> str:
    """Return seconds in the unit that fits: `45 s`, `12 min`, `3.4 h`, `2.1 days`."""
    size, unit = next((size, unit) for least, size, unit in UNITS_S if seconds >= least)
    value = seconds / size
    return f"{value:.0f} {unit}" if value >= 10 else f"{f'{value:.1f}'.removesuffix('.0')} {unit}"


def format_hours(seconds: float) -> str:
    """Return seconds as hours with three digits, as clusters account them; less than an hour as `format_duration`."""
    hours = seconds / 3600
    return f"{hours:,.0f} h" if hours >= 100 else f"{hours:.3g} h" if hours >= 1 else format_duration(seconds)


def format_bytes(size: int) -> str:
    """Return a size in KiB, MiB or GiB."""
    least, unit = next((least, unit) for least, unit in UNITS_BYTES if size >= least)
    return f"{size / (least or 1024):.1f} {unit}"


def join_words(words: Sequence[str]) -> str:
    """Return `a`, `a and b` or `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def count_words(n: int, noun: str) -> str:
    """Return `1 model`, `2 models`."""
    return f"{n} {noun}{'s' * (n != 1)}"
