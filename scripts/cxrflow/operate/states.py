"""How each job of a study stands, by Slurm's queue, leases, the processes of this machine and the ends of logs.

Locks nothing, so a running study is not disturbed.
"""

import platform
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrflow.config.missing import read_error
from cxrflow.errors import CxrflowError
from cxrflow.files.leases import FILE, STALE_S, read_holder
from cxrflow.operate.jobs import Job
from cxrflow.operate.recovering import Process, list_processes, read_last_run
from cxrflow.operate.slurm import FAILED, RUNNING, WAITING, SlurmJob, list_jobs

HEAD_JOB = "cxrflow_head"  # profiles/slurm/head.sbatch
# In Snakemake's log: submitted or taken over, failed, finished.
EVENT = re.compile(
    r"^Job (\d+) (?:has been submitted with SLURM jobid|runs already, as SLURM job) (\d+)"
    r"|SLURM-job '(\d+)' failed|^Finished jobid: (\d+)",
    re.MULTILINE,
)
LEASED = ("train", "preprocess")  # rules whose worker holds a lease in resume/ next to the log
SLURM_LOGS = Path("logs/slurm")  # slurm-logdir of profiles/slurm: <rule>/<wildcards>/<job id>.log
# What slurmstepd, with the node's name or without, and the shell of a rule write into a job's log when it is ended.
KILLED = re.compile(
    r"^(?:slurmstepd\S*: error: (?=.*(?:oom|memory|time limit|node failure|preemption))|(?=\S*bash: line .* Killed ))"
    r"(.{,200})",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True)
class Look:
    """What was seen at one time."""

    now_s: float  # Unix time
    folder: Path  # the working folder
    queue: Sequence[SlurmJob] = ()  # this user's Slurm jobs of this folder
    processes: Sequence[Process] = ()  # of this machine in this folder
    note: str = ""  # what could not be seen, for the reader
    awaited: Sequence[str] = ()  # Slurm's ids of the jobs that the last Snakemake has submitted and not seen end

    @property
    def heads(self) -> dict[str, str]:
        """The Snakemakes that work in the folder, in words, each with the command that ends it and no job of it."""
        here = {f"process {each.pid}": f"kill -9 {each.pid}" for each in self.processes if each.is_head}
        jobs = [each.job_id for each in self.queue if each.name == HEAD_JOB and each.is_active]
        return here | {f"job {each}": f"scancel --full --signal=KILL {each}" for each in jobs}

    @property
    def forgotten(self) -> list[str]:
        """Slurm's ids of jobs that a Snakemake waits for and the queue no longer knows."""
        known = {each.job_id for each in self.queue}
        return [each for each in self.awaited if self.heads and not self.note and each not in known]


@dataclass(frozen=True)
class State:
    """The state of one job, one of STATES, and in words what shows it."""

    name: str
    why: str = ""
    stop: str = ""  # the command that ends a running one


def look(folder: Path) -> Look:
    """Look at the queue and the processes once. A queue that does not answer is named in `note`."""
    now_s, processes = time.time(), list_processes(folder)
    if not shutil.which("squeue"):
        note = f"no Slurm here (no squeue): seen are files, leases and the processes of {platform.node()}"
        return Look(now_s, folder, processes=processes, note=note)
    awaited = list_awaited(folder)  # before the queue, which then knows them all
    try:
        return Look(now_s, folder, list_jobs(folder), processes, awaited=awaited)
    except CxrflowError as error:
        return Look(now_s, folder, processes=processes, note=f"the queue was not seen: {error}")


def list_awaited(folder: Path) -> list[str]:
    """Return Slurm's ids of the jobs that the last Snakemake has submitted and not seen end, by its log."""
    last = read_last_run(folder)
    awaited: dict[str, str] = {}
    for started, job, failed, finished in EVENT.findall(last.log.read_text("utf-8", "replace") if last else ""):
        awaited = {one: each for one, each in awaited.items() if each != failed and one != finished}
        awaited |= {started: job} if started else {}
    return list(awaited.values())


def find_state(job: Job, seen: Look) -> State:
    """Return the state of a job that remains to be done, by the first sign that decides."""
    signs = (_see_process, _see_lease, _see_queue, _see_logs)
    return next((state for sign in signs if (state := sign(job, seen))), State("not started"))


def _see_process(job: Job, seen: Look) -> State | None:
    """See the process of this machine that makes a job's files, by the stage and the paths in its command."""
    mine = (each for each in seen.processes if any(word.endswith(f"scripts/{job.rule}.py") for word in each.words[:3]))
    found = next((each for each in mine if set(job.outputs) & set(each.words)), None)
    return State("running", f"process {found.pid} on {platform.node()}", f"kill {found.pid}") if found else None


def _see_lease(job: Job, seen: Look) -> State | None:
    """See the lease of whoever works in the resume folder: touched lately, or of a Slurm job that still runs."""
    path = seen.folder / Path(job.log).parent / "resume" / FILE
    holder = read_holder(path) if job.rule in LEASED else None
    if holder is None or holder.is_known_dead():
        return None
    try:  # by this machine's clock: leases.age_s writes a file
        is_fresh = abs(seen.now_s - path.stat().st_mtime) < STALE_S
    except OSError:  # released this very moment
        return None
    is_queued = any(each.job_id == holder.job and each.is_active for each in seen.queue)
    where = f"job {holder.job}" if holder.job else f"process {holder.pid}"
    stop = f"scancel {holder.job}" if holder.job else f"kill {holder.pid}"
    return State("running", f"{where} on {holder.host}", stop) if is_fresh or is_queued else None


def _see_queue(job: Job, seen: Look) -> State | None:
    """See the Slurm job: the one that runs or waits, else the last that ended."""
    found = find_slurm_job(job, seen)
    if found is None:
        return None
    if found.state in RUNNING:
        return State("running", f"job {found.job_id} on {found.nodes or 'a node'}", f"scancel {found.job_id}")
    if found.state in WAITING:
        return State("queued", f"job {found.job_id}: {found.reason or 'waits'}")
    if found.state not in FAILED:
        return None
    return State("failed", f"job {found.job_id}: {found.state}; the log ends: {last_line(seen.folder / job.log)}")


def comment_of(job: Job) -> str:
    """Return the comment that the Slurm plugin gives to a job."""
    return f"rule_{job.rule}" + (f"_wildcards_{wildcards_text(job)}" if job.wildcards else "")


def find_slurm_job(job: Job, seen: Look) -> SlurmJob | None:
    """Return the Slurm job of a job: the one that runs or waits, else the last; None: the queue knows none."""
    mine = [each for each in seen.queue if each.is_from_snakemake and _is_of(job, each.comment)]
    return max(mine, key=lambda each: (each.is_active, _number(each.job_id)), default=None)


def _is_of(job: Job, comment: str) -> bool:
    """Return whether a Slurm job with a comment is a job's, or the one that it shares."""
    return comment == comment_of(job) or bool(job.shared and comment.startswith(f"rule_{job.shared}_"))


def slurm_log_of(job: Job, folder: Path, job_id: str = "*") -> Path:
    """Return where the log of a Slurm job of a job is."""
    kind = "group" if job.members else "rule"
    return folder / SLURM_LOGS / f"{kind}_{job.rule}" / wildcards_text(job) / f"{job_id}.log"


def find_slurm_log(job: Job, seen: Look) -> Path | None:
    """Return the log of the last Slurm job of a job; None: there is none."""
    logs = [*slurm_log_of(job, seen.folder).parent.glob("*.log")]
    logs += (seen.folder / SLURM_LOGS).glob(f"group_{job.shared}_*/*.log") if job.shared else []
    return max(logs, key=lambda path: _number(path.stem), default=None)


def _see_logs(job: Job, seen: Look) -> State | None:
    """See how the last attempt ended: killed by Slurm, an error, or a log that nobody continues.

    Where the outputs are there, the log is theirs, from before what repeats the job: Snakemake removes them first.
    """
    if all((seen.folder / path).exists() for path in job.outputs):
        return None
    slurm_log = find_slurm_log(job, seen)
    killed = KILLED.search(slurm_log.read_text("utf-8", "replace")) if slurm_log else None
    if slurm_log and killed:
        return State("failed", f"job {slurm_log.stem}: {killed[1]}")
    if error := read_error(seen.folder / job.log):
        return State("failed", error)
    line = last_line(seen.folder / job.log)
    return State("stopped", f"the log ends: {line}") if line else None


def wildcards_text(job: Job) -> str:
    """Return the wildcards as the Slurm plugin writes them into comments and folders of logs."""
    return "_".join(job.wildcards.values()).replace("/", "_")


def last_line(log: Path) -> str:
    """Return the last line of a log that is not blank; empty: there is none."""
    text = log.read_text("utf-8", "replace").strip() if log.exists() else ""
    return text.splitlines()[-1].strip() if text else ""


def _number(job_id: str) -> int:
    """Return the number in a job id; 12 for the array task 12_3."""
    match = re.match(r"\d+", job_id)
    return int(match[0]) if match else 0
