"""Times and GPUs are read as Slurm and Snakemake mean them."""

import math

import pytest

from cxrflow.errors import CxrflowError
from cxrflow.operate.slurm import parse_gpus, parse_minutes


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("infinite", math.inf),
        ("UNLIMITED\n", math.inf),
        ("30", 30),
        ("30:30", 30.5),
        ("12:00:00", 720),
        ("1-00:00:00", 1440),
        ("2-12", 3600),
        ("0-1", 60),
        ("1-01:30", 1530),
        ("120.5", 120.5),
        ("12h", 720),
        ("1d12h", 2160),
        ("1.5h", 90),
        ("90s", 1.5),
        ("2 hours 5 min", 125),
    ],
)
def test_times(text: str, minutes: float) -> None:
    assert parse_minutes(text) == minutes


@pytest.mark.parametrize("text", ["soon", "", "INVALID", "12x", "h12", "1:2:3:4", "-5", "1-2-3", "12h or so"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(CxrflowError, match="is not a time"):
        parse_minutes(text)


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
