"""What a check is, what it answers, and how numbers stand in its sentences. Imports nothing heavy."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cxrflow.files.formats import KINDS

if TYPE_CHECKING:  # numpy, which a check without numbers does not need
    from cxrflow.results.bootstrap import Estimate

PASS, WARN, FAIL, UNKNOWN, ERROR = LEVELS = ("pass", "warn", "fail", "unknown", "error")
UNDECIDED = {UNKNOWN: "cannot be determined here", ERROR: "could not be checked"}
# How a level is worded: a claim is the paper's statement, a caution asks what could weaken the study's numbers.
WORDS = {
    "claim": {PASS: "holds", WARN: "holds in part", FAIL: "does not hold", **UNDECIDED},
    "caution": {PASS: "no concern", WARN: "take care", FAIL: "serious concern", **UNDECIDED},
}
# What a check can read, all of the study's datasets, backbones or models: keys of NEEDED in workflow/rules/summary.smk.
NEEDS = (
    "plan", "index", "copies", "selection", "split", "probes", "backbones", "training", "history", "metrics",
    "predictions", "mirrored", "gradcam",
)  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """What a check found."""

    level: str  # one of LEVELS
    text: str  # the answer, in a few whole sentences with this study's numbers, and how sure they make one
    value: float | None = None  # the number that decided, where there is one
    interval: tuple[float, float] | None = None  # of 95 %; a test's of 1 - alpha
    threshold: float | None = None  # what it was held against
    remedy: str = ""  # what a user can do about it; empty where nothing is to be done
    details: tuple[str, ...] = ()  # what the answer rests on, a paragraph each; folded on the page


@dataclass(frozen=True)
class Check:
    """One question about a study."""

    name: str  # also of its JSON file, and of its function
    kind: str  # a key of WORDS
    question: str  # what it asks; of a claim, the paper's statement
    needs: tuple[str, ...]  # members of NEEDS: the files that `run` reads
    run: Callable[..., Verdict]  # from the collected results and, of a test, alpha

    def __post_init__(self) -> None:
        """Refuse words that nothing else knows."""
        if self.kind not in WORDS or not set(self.needs) <= set(NEEDS):
            raise ValueError(f"check {self.name}: kind is one of {tuple(WORDS)}, needs are of {NEEDS}")

    @property
    def is_test(self) -> bool:
        """Whether chance could decide it: it then takes the share of studies, alpha, in which chance alone may."""
        return "alpha" in inspect.signature(self.run).parameters


def check(kind: str, question: str, needs: tuple[str, ...] = ()) -> Callable[[Callable[..., Verdict]], Check]:
    """Make the check that a function answers. Its arguments are literals: a plan reads them without importing it.

    A function that takes `alpha` beside the results is a test; all tests are one family (`registry.judge_checks`).
    """
    return lambda run: Check(run.__name__, kind, question, needs, run)


def judge_difference(difference: "Estimate") -> str:
    """Return PASS where the interval lies above zero, FAIL where below, else UNKNOWN."""
    if difference.low is None or difference.high is None:
        return UNKNOWN
    if is_clear(difference.low):
        return PASS
    return FAIL if is_clear(-difference.high) else UNKNOWN


def is_clear(end: float) -> bool:
    """Return whether an interval's end lies above zero; one that is printed as 0.00 does not."""
    return round(end, 2) > 0


def write_estimate(estimate: "Estimate", kind: str = "score") -> str:
    """Return `0.81 (0.76–0.85)`, or only the value where there is no interval."""
    return KINDS[kind].show_interval(estimate.value, estimate.low, estimate.high, estimate.n_patients)


def write_p(p: float) -> str:
    """Return a share of rearrangements as people read it."""
    return "less than 0.1 %" if p < 0.001 else f"{100 * p:.1f} %"
