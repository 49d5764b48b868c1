"""Durations and sizes have the unit that fits."""

import pytest

from cxrflow.files.formats import KINDS, format_bytes, format_duration, format_hours


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.2, "0.2 s"), (89, "89 s"), (90, "1.5 min"), (360, "6 min"), (5400, "1.5 h"), (259_200, "3 days")],
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(("hours", "text"), [(0.5, "30 min"), (2.345, "2.35 h"), (1234, "1,234 h")])
def test_hours(hours: float, text: str) -> None:
    assert format_hours(hours * 3600) == text


def test_sizes() -> None:
    assert [format_bytes(size) for size in (512, 1 << 20, 3 << 30)] == ["0.5 KiB", "1.0 MiB", "3.0 GiB"]


def test_a_p_value_is_never_0_and_a_share_below_0_has_a_minus_sign() -> None:
    assert [KINDS["p"].show(value) for value in (1e-4, 0.0314, 1.0)] == ["<0.001", "0.031", "1.000"]
    assert KINDS["share"].show_interval(0.23, -0.01, 0.5) == "23 % (−1 % to 50 %)"
