"""The median of times and its interval."""

import numpy as np
import pytest
from scipy.stats import quantile_test

from cxrflow.files.timings import describe_times


@pytest.mark.parametrize("n", [6, 10, 30, 51])
def test_the_interval_of_a_median_is_scipys(n: int) -> None:
    times = np.random.default_rng(n).exponential(size=n).tolist()
    found, expected = describe_times(times), quantile_test(times).confidence_interval(0.95)
    assert found["median"] == np.median(times)
    assert (found["low"], found["high"]) == (expected.low, expected.high)


def test_of_fewer_than_six_times_there_is_none() -> None:
    assert describe_times([3.0, 1.0, 2.0, 5.0, 4.0]) == {"median": 3.0, "low": None, "high": None}
