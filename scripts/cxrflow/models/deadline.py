"""When the job's time is up: Slurm ends a job at its limit, and a training leaves before, with its last epoch saved.

Asks Slurm once, at the start, how much time the job has left; from then on it is the process's own clock that counts.
"""

import math
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cxrflow.config.slurm_forms import parse_minutes
from cxrflow.errors import CxrflowError

RESERVE_S = 30.0  # to write a checkpoint and to end
SPREAD = 1.2  # an epoch may take this much longer than the longest of the last ones
LAST = 5


@dataclass(frozen=True)
class Deadline:
    """The end of a job's time.

    Attributes:
        at_s: on `clock`, seconds; infinity where there is no limit.
        clock: that counts, time.monotonic but for tests.
    """

    at_s: float = math.inf
    clock: Callable[[], float] = time.monotonic

    def allows(self, epoch_seconds: Sequence[float]) -> bool:
        """Say whether one more epoch fits, judged by the seconds of this attempt's epochs so far.

        The first always does: so every attempt gets on by an epoch if its time allows one at all.
        """
        if not epoch_seconds:
            return True
        return self.clock() + SPREAD * max(epoch_seconds[-LAST:]) + RESERVE_S < self.at_s

    def leave(self, done: int, epochs: int) -> CxrflowError:
        """Return the error that ends a training in time."""
        return CxrflowError(
            f"the job's time is up in {max(0.0, self.at_s - self.clock()):.0f} s, less than another epoch takes: saved"
            f" after epoch {done} of {epochs}. The next attempt goes on from there (`retries` in the profile makes one"
            " by itself; a larger `runtime` of train needs none)"
        )


def find_deadline() -> Deadline:
    """Return the deadline of the Slurm job that this process runs in; none outside of one."""
    job = os.environ.get("SLURM_JOB_ID")
    return Deadline(time.monotonic() + _ask_slurm(job)) if job else Deadline()


def _ask_slurm(job: str) -> float:
    """Return the seconds that a job has left; infinity without a limit, or where nobody answers, which is told."""
    command = ["squeue", "--noheader", "--jobs", job, "--format", "%L"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
        return parse_minutes(answer) * 60
    except (OSError, subprocess.SubprocessError, CxrflowError) as error:
        print(f"note: Slurm does not say when job {job} ends ({error}); at its limit the last checkpoint counts")
        return math.inf
