"""Times that were measured again and again: their median, and how sure it is. Imports nothing heavy."""

from collections.abc import Sequence
from math import comb
from statistics import median


def describe_times(times: Sequence[float]) -> dict[str, float | None]:
    """Return the median with the narrowest pair of order statistics that holds the true one in 95 % of measurements.

    Whatever the distribution, as long as the times do not depend on each other (Conover 1999, Practical Nonparametric
    Statistics, 3rd ed., section 3.2): between the r-th lowest and the r-th highest of n times it lies with a chance of
    1 - 2 P(Binomial(n, 1/2) < r).

    times: at least one, of any unit. Returns `median`, `low` and `high`; the ends are None for fewer than 6 times.
    """
    n, ordered = len(times), sorted(times)
    tails = [2 * sum(comb(n, k) for k in range(r)) / 2**n for r in range(1, n // 2 + 1)]
    r = sum(tail <= 0.05 for tail in tails)
    return {"median": median(times), "low": ordered[r - 1] if r else None, "high": ordered[n - r] if r else None}
