"""What a claim is answered with, and how numbers stand in its sentence."""

from collections.abc import Sequence
from dataclasses import dataclass

from cxrflow.files.formats import KINDS
from cxrflow.results.bootstrap import Estimate

HOLDS = "holds"
FAILS = "does not hold"
OPEN = "cannot be told here"
ALPHA = 0.05  # how often chance alone may give as clear a pattern before it is taken for one


@dataclass(frozen=True)
class Claim:
    """One claim of the published report and this study's answer.

    Attributes:
        claim: what the report says.
        verdict: HOLDS, FAILS or OPEN.
        answer: sentences with this study's numbers, and how sure they make one.
    """

    claim: str
    verdict: str
    answer: str


def judge_difference(difference: Estimate) -> str:
    """Return HOLDS where the 95 % interval lies above zero, FAILS where below, else OPEN."""
    if difference.low is None or difference.high is None:
        return OPEN
    if difference.low > 0:
        return HOLDS
    return FAILS if difference.high < 0 else OPEN


def write_estimate(estimate: Estimate, kind: str = "score") -> str:
    """Return `0.81 (0.76–0.85)`, or only the value where there is no interval."""
    show = KINDS[kind].show
    if estimate.low is None or estimate.high is None:
        return show(estimate.value)
    return f"{show(estimate.value)} ({show(estimate.low)}{KINDS[kind].between}{show(estimate.high)})"


def write_p(p: float) -> str:
    """Return a share of rearrangements as people read it."""
    return "less than 0.1 %" if p < 0.001 else f"{100 * p:.1f} %"


def join_words(words: Sequence[str]) -> str:
    """Return `a`, `a and b` or `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
