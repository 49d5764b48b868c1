"""What shows whether a step runs, waits or has failed: Slurm's queue, leases, processes of this machine, logs.

Reads only: files, squeue, sacct and /proc. Nothing is locked, so a running study is not disturbed.
"""

import platform
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cxrflow.errors import CxrflowError
from cxrflow.files.leases import STALE_S, read_holder
from cxrflow.operate.processes import Process, list_processes
from cxrflow.operate.slurm import FAILED, RUNNING, WAITING, SlurmJob, has_command, list_jobs, past_states
from cxrflow.operate.steps import Step

SLURM_LOGS = Path("logs/slurm")  # slurm-logdir of profiles/slurm: <rule>/<wildcards>/<job id>.log
TAIL_BYTES = 4096
CRASH = re.compile(r"error: .+|[\w.]*(?:Error|Exception)\b.*")  # the last line: a user's error, or a traceback's end


@dataclass(frozen=True)
class Evidence:
    """What was seen in one look.

    Attributes:
        now_s: Unix time of the look.
        folder: the working directory.
        jobs: this user's Slurm jobs of this folder.
        processes: of this machine in this folder.
        ended: {job id: state} of jobs that have left the queue.
        notes: what could not be seen, for the reader.
    """

    now_s: float
    folder: Path
    jobs: tuple[SlurmJob, ...] = ()
    processes: tuple[Process, ...] = ()
    ended: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def job_of(self, step: Step) -> SlurmJob | None:
        """Return a step's Slurm job: the one that runs or waits, else the last that ended."""
        mine = [job for job in self.jobs if job.is_from_snakemake and job.comment == step.comment]
        return max(mine, key=lambda job: (job.is_active, _number(job.job_id)), default=None)

    def process_of(self, step: Step) -> Process | None:
        """Return the process of this machine that makes a step's files, by the stage and the paths in its command."""
        paths, stage = {str(path) for path in step.outputs}, f"scripts/{step.rule}.py"
        mine = (each for each in self.processes if any(word.endswith(stage) for word in each.words[:3]))
        return next((each for each in mine if paths & set(each.words)), None)

    def has_active_job(self, job_id: str) -> bool:
        """Whether a job of this id is in the queue."""
        return any(job.job_id == job_id and job.is_active for job in self.jobs)


@dataclass(frozen=True)
class Sight:
    """The state of one step and what shows it.

    Attributes:
        state: one of STATES.
        why: in words, for the reader; empty where there is nothing to add.
    """

    state: str
    why: str = ""


STATES = ("done", "running", "queued", "failed", "stopped", "not started")


def look(folder: Path, steps: Iterable[Step]) -> Evidence:
    """Look at the queue, the accounting and the processes once. What does not answer is named in `notes`."""
    now_s, processes = time.time(), tuple(list_processes(folder))
    if not has_command("squeue"):
        note = f"no Slurm here (no squeue): seen are files, leases and the processes of {platform.node()}"
        return Evidence(now_s, folder, processes=processes, notes=(note,))
    try:
        jobs = tuple(job for job in list_jobs() if job.is_in(folder))
    except CxrflowError as error:
        return Evidence(now_s, folder, processes=processes, notes=(f"the queue was not seen: {error}",))
    ended, notes = _ask_ended(folder, jobs, steps)
    return Evidence(now_s, folder, jobs, processes, ended, notes)


def _ask_ended(folder: Path, jobs: Iterable[SlurmJob], steps: Iterable[Step]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Ask the accounting, where there is one, about the last job of each unfinished step that has left the queue."""
    known = {job.job_id for job in jobs}
    unfinished = (step for step in steps if not is_done(folder, step))
    ids = {job_id for step in unfinished if (job_id := last_job_id(folder, step)) and job_id not in known}
    if not ids or not has_command("sacct"):
        return {}, ()
    try:
        return past_states(sorted(ids)), ()
    except CxrflowError as error:
        return {}, (f"how ended jobs ended was not seen: {error}",)


def last_job_id(folder: Path, step: Step) -> str | None:
    """Return the last Slurm job of a step by the plugin's logs; None: there is none."""
    logs = (folder / SLURM_LOGS / f"rule_{step.rule}" / step.wildcards_text).glob("*.log")
    return max((log.stem for log in logs if log.stem.isdecimal()), key=int, default=None)


def is_done(folder: Path, step: Step) -> bool:
    """Return whether all files of a step are there."""
    return all((folder / path).exists() for path in step.outputs)


def see_step(step: Step, evidence: Evidence) -> Sight:
    """Return the state of a step, by the first sign that decides."""
    signs = (_see_outputs, _see_process, _see_lease, _see_job, _see_error, _see_leftovers)
    return next((sight for sign in signs if (sight := sign(step, evidence))), Sight("not started"))


def _see_outputs(step: Step, evidence: Evidence) -> Sight | None:
    return Sight("done") if is_done(evidence.folder, step) else None


def _see_process(step: Step, evidence: Evidence) -> Sight | None:
    process = evidence.process_of(step)
    return Sight("running", f"process {process.pid} on {platform.node()}") if process else None


def _see_lease(step: Step, evidence: Evidence) -> Sight | None:
    """See the lease of whoever works in the resume folder: touched lately, or of a Slurm job that still runs."""
    path = evidence.folder / step.lease if step.lease else None
    holder = read_holder(path) if path else None
    if path is None or holder is None or holder.is_known_dead():
        return None
    try:  # by this machine's clock: leases.age_s writes a file
        fresh = evidence.now_s - path.stat().st_mtime < STALE_S
    except OSError:  # released this very moment
        return None
    if not fresh and not evidence.has_active_job(holder.job):
        return None
    where = f"job {holder.job}" if holder.job else f"process {holder.pid}"
    return Sight("running", f"{where} on {holder.host}")


def _see_job(step: Step, evidence: Evidence) -> Sight | None:
    """See the step's Slurm job: in the queue, or how the last one ended."""
    job = evidence.job_of(step)
    if job is not None and job.state in RUNNING:
        return Sight("running", f"job {job.job_id} on {job.nodes or 'a node'}")
    if job is not None and job.state in WAITING:
        return Sight("queued", f"job {job.job_id}: {job.reason or 'waits'}")
    job_id = job.job_id if job else last_job_id(evidence.folder, step) or ""
    state = job.state if job else evidence.ended.get(job_id)
    if state not in FAILED:
        return None
    said = last_line(evidence.folder / step.log)
    return Sight("failed", f"job {job_id}: {state}" + (f"; the log ends: {said}" if said else ""))


def _see_error(step: Step, evidence: Evidence) -> Sight | None:
    line = last_line(evidence.folder / step.log)
    return Sight("failed", line) if CRASH.fullmatch(line) else None


def _see_leftovers(step: Step, evidence: Evidence) -> Sight | None:
    """See what an attempt left that nobody continues."""
    line = last_line(evidence.folder / step.log)
    return Sight("stopped", f"the log ends: {line}") if line else None


def last_line(log: Path) -> str:
    """Return the last line of a log that says anything; empty: there is none."""
    try:
        with log.open("rb") as handle:
            handle.seek(max(0, log.stat().st_size - TAIL_BYTES))
            lines = handle.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _number(job_id: str) -> int:
    """Return the number in a job id; 12 for the array task 12_3."""
    match = re.match(r"\d+", job_id)
    return int(match[0]) if match else 0
