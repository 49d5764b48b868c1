"""Why a job on a cluster has failed, and what its next attempt asks for.

Snakemake only sees that a job failed. Why is known from Slurm's state of it, from what slurmstepd and bash wrote into
the job's log, and from the stage's own log; where none of them says, the next attempt asks for more of everything.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from cxrflow.config.missing import read_error
from cxrflow.operate.jobs import Job
from cxrflow.operate.states import KILLED, Look, find_slurm_job, find_slurm_log, last_line

STATES = {
    "OUT_OF_MEMORY": "memory",
    "TIMEOUT": "time",
    "DEADLINE": "time",
    **dict.fromkeys(("NODE_FAIL", "BOOT_FAIL", "LAUNCH_FAILED", "PREEMPTED", "CANCELLED"), "place"),
}
# In the job's log, where Slurm has forgotten its state or kills without one; bash says Killed of a SIGKILL: exit 137.
SLURM_SAYS = {"memory": r"oom|memory| Killed ", "time": "time limit", "place": "node failure|preemption"}
# In the stage's log: of memory and time as the stage sees them, and what another attempt or another node may not meet.
STAGE_SAYS = {
    "memory": r"(?<!OutOf)MemoryError|can't allocate memory",
    "time": "the job's time ends in",
    "place": r"(?:OSError|TimeoutError|Connection\w*Error): |CUDA error|NCCL|CUDA-capable|nothing more is written"
    r"|is already running",
}
NEXT = {
    "memory": "the next attempt asks for more memory",
    "time": "the next attempt asks for more time",
    "place": "the next attempt asks for the same",
    "program": "it is not tried again, as the same would happen",
    "unknown": "the next attempt asks for more memory and time",
}
# Of several that share a Slurm job: what another attempt mends comes first, and most are not to blame.
ORDER = ("memory", "time", "place", "program", "unknown")


class Attempt(int):
    """The number of an attempt that knows how many times the memory and the time of the first one it asks for."""

    memory: int
    time: int

    @classmethod
    def after(cls, attempt: int, cause: str) -> "Attempt":
        """Return an attempt with what the next one asks for; where it is the first, nothing has been added yet."""
        found = cls(attempt)
        found.memory = getattr(attempt, "memory", 1) + (cause in ("memory", "unknown"))
        found.time = getattr(attempt, "time", 1) + (cause in ("time", "unknown"))
        return found

    def __add__(self, more: int) -> "Attempt":
        """Count on, as Snakemake does, and keep what is asked for."""
        found = Attempt(int(self) + more)
        found.memory, found.time = self.memory, self.time
        return found


@dataclass(frozen=True)
class Failure:
    """Why a job failed: a key of NEXT, and in words what shows it."""

    cause: str
    why: str

    def __str__(self) -> str:
        """Return it with what follows from it."""
        return f"{self.why or 'no log says why it failed'}: {NEXT[self.cause]}"


def find_failure(job: Job, seen: Look) -> Failure:
    """Return why the last attempt of a job failed, by the first sign that says."""
    last = find_slurm_job(job, seen)
    if last and last.state in STATES:
        return Failure(STATES[last.state], f"job {last.job_id}: {last.state}")
    log = find_slurm_log(job, seen)
    is_its = log and (last is None or log.stem == last.job_id)
    if log and is_its and (killed := KILLED.search(log.read_text("utf-8", "replace"))):
        return Failure(_match(SLURM_SAYS, killed[1]) or "unknown", killed[1][:100])
    found = [_read_stage(seen.folder / each.log) for each in job.members or [job]]
    return min(found, key=lambda failure: ORDER.index(failure.cause))


def _read_stage(log: Path) -> Failure:
    """Return why a stage failed, by its own log."""
    error = read_error(log)
    if not error and "stopped by SIGTERM" in (line := last_line(log)):
        return Failure("place", line)
    return Failure(_match(STAGE_SAYS, error) or ("program" if error else "unknown"), error)


def _match(patterns: dict[str, str], text: str) -> str:
    return next((cause for cause, pattern in patterns.items() if re.search(pattern, text, re.IGNORECASE)), "")
