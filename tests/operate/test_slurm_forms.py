"""Time limits and generic resources are read as Slurm prints them."""

import math

import pytest

from cxrflow.operate.slurm import parse_gpus, parse_gres, parse_limit


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("infinite", math.inf), ("30:30", 30.5), ("12:00:00", 720), ("1-00:00:00", 1440), ("2-01:30:00", 2970)],
)
def test_time_limits(text: str, minutes: float) -> None:
    """As sinfo prints them: two numbers are minutes and seconds, which the plugin's reader takes for hours."""
    assert parse_limit(text) == minutes


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("(null)", {}),
        ("gpu:2", {"": 2}),
        ("gpu", {"": 1}),
        ("gpu:a100", {"a100": 1}),
        ("gpu:a100:4(S:0-1)", {"a100": 4}),
        ("gpu:a100:2(S:0,2),gpu:v100:1,lustre:1", {"a100": 2, "v100": 1}),
        ("gpu:1g.5gb:7", {"1g.5gb": 7}),
    ],
)
def test_gpus(gres: str, gpus: dict[str, int]) -> None:
    assert parse_gpus(gres) == gpus


def test_generic_resources_are_told_apart_by_kind_and_model() -> None:
    assert parse_gres("gpu:a100:4(S:0-1),lscratch:500G,gpu") == {"gpu:a100": 4, "lscratch": 500, "gpu": 1}
