"""One look at a study, while it runs or after, as text: jobs by state, running trainings, what failed, the time left.

Snakemake's dry run says which jobs remain. What runs, waits or has failed is seen in Slurm's queue,
the leases, the processes of this machine and the ends of logs. Locks nothing, so a running study is not disturbed.
"""

import platform
import re
import shutil
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from cxrflow.config.missing import read_error
from cxrflow.errors import CxrflowError
from cxrflow.files.formats import format_duration
from cxrflow.files.leases import FILE, STALE_S, read_holder
from cxrflow.files.records import EpochRow
from cxrflow.models.progress import parse_epochs
from cxrflow.operate.estimates import Estimator
from cxrflow.operate.jobs import Job
from cxrflow.operate.recovering import Process, list_processes
from cxrflow.operate.slurm import FAILED, RUNNING, WAITING, SlurmJob, list_jobs

STATES = ("done", "running", "queued", "failed", "stopped", "not started")
LEASED = ("train", "preprocess")  # rules whose worker holds a lease in resume/ next to the log
SLURM_LOGS = Path("logs/slurm")  # slurm-logdir of profiles/slurm: <rule>/<wildcards>/<job id>.log
KILLED = re.compile(r"slurmstepd: error: (.*(?:oom|out of memory|time limit|node failure).*)", re.IGNORECASE)
RECENT_EPOCHS = 5


@dataclass(frozen=True)
class Look:
    """What was seen at one time."""

    now_s: float  # Unix time
    folder: Path  # the working folder
    queue: Sequence[SlurmJob] = ()  # this user's Slurm jobs of this folder
    processes: Sequence[Process] = ()  # of this machine in this folder
    note: str = ""  # what could not be seen, for the reader


@dataclass(frozen=True)
class State:
    """The state of one job, one of STATES, and in words what shows it."""

    name: str
    why: str = ""


@dataclass(frozen=True)
class Progress:
    """How far one training is."""

    epochs: int  # there will be
    rows: Sequence[EpochRow] = ()  # of the finished ones

    @property
    def epoch_s(self) -> float:
        """Seconds of one epoch, by the last ones: a resumed training may be on another machine now."""
        return statistics.median(row.seconds for row in self.rows[-RECENT_EPOCHS:])

    @property
    def left_s(self) -> float | None:
        """Seconds that the remaining epochs take; None before the first has ended."""
        return max(0, self.epochs - len(self.rows)) * self.epoch_s if self.rows else None


def look(folder: Path) -> Look:
    """Look at the queue and the processes once. A queue that does not answer is named in `note`."""
    now_s, processes = time.time(), list_processes(folder)
    if not shutil.which("squeue"):
        note = f"no Slurm here (no squeue): seen are files, leases and the processes of {platform.node()}"
        return Look(now_s, folder, processes=processes, note=note)
    try:
        return Look(now_s, folder, list_jobs(folder), processes)
    except CxrflowError as error:
        return Look(now_s, folder, processes=processes, note=f"the queue was not seen: {error}")


def find_state(job: Job, seen: Look) -> State:
    """Return the state of a job that remains to be done, by the first sign that decides."""
    signs = (_see_process, _see_lease, _see_queue, _see_logs)
    return next((state for sign in signs if (state := sign(job, seen))), State("not started"))


def _see_process(job: Job, seen: Look) -> State | None:
    """See the process of this machine that makes a job's files, by the stage and the paths in its command."""
    mine = (each for each in seen.processes if any(word.endswith(f"scripts/{job.rule}.py") for word in each.words[:3]))
    found = next((each for each in mine if set(job.outputs) & set(each.words)), None)
    return State("running", f"process {found.pid} on {platform.node()}") if found else None


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
    return State("running", f"{where} on {holder.host}") if is_fresh or is_queued else None


def _see_queue(job: Job, seen: Look) -> State | None:
    """See the Slurm job: the one that runs or waits, else the last that ended."""
    comment = f"rule_{job.rule}" + (f"_wildcards_{wildcards_text(job)}" if job.wildcards else "")
    mine = [each for each in seen.queue if each.is_from_snakemake and each.comment == comment]
    found = max(mine, key=lambda each: (each.is_active, _number(each.job_id)), default=None)
    if found is None:
        return None
    if found.state in RUNNING:
        return State("running", f"job {found.job_id} on {found.nodes or 'a node'}")
    if found.state in WAITING:
        return State("queued", f"job {found.job_id}: {found.reason or 'waits'}")
    if found.state not in FAILED:
        return None
    return State("failed", f"job {found.job_id}: {found.state}; the log ends: {last_line(seen.folder / job.log)}")


def _see_logs(job: Job, seen: Look) -> State | None:
    """See how the last attempt ended: killed by Slurm, an error, or a log that nobody continues.

    Where the outputs are there, the log is theirs, from before what repeats the job: Snakemake removes them first.
    """
    if all((seen.folder / path).exists() for path in job.outputs):
        return None
    logs = (seen.folder / SLURM_LOGS / f"rule_{job.rule}" / wildcards_text(job)).glob("*.log")
    slurm_log = max(logs, key=lambda path: _number(path.stem), default=None)
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


def read_progress(job: Job, state: State, epochs: int, folder: Path) -> Progress:
    """Read the log of a training that runs or has left a checkpoint; another one's log is of before it was repeated."""
    log = folder / job.log
    is_begun = log.exists() and (state.name == "running" or (log.parent / "resume").is_dir())
    return Progress(epochs, parse_epochs(log.read_text("utf-8", "replace")) if is_begun else ())


def describe_study(estimator: Estimator, jobs: Sequence[Job], remaining: Sequence[Job], seen: Look) -> str:
    """Return what there is to say of a study.

    Args:
        estimator: of the study.
        jobs: all of the study's.
        remaining: those of them that Snakemake would run now.
        seen: a look at its folder.
    """
    study = estimator.study
    undone = {job.outputs for job in remaining}
    states = [find_state(job, seen) if job.outputs in undone else State("done") for job in jobs]
    pairs = list(zip(jobs, states, strict=True))
    trainings = {
        job.title: read_progress(job, state, study.train_settings(job.model.variant).epochs, seen.folder)
        for job, state in pairs
        if job.rule == "train" and job.model and state.name != "done"
    }
    blocks = [
        _say_headline(study.settings.study, pairs, seen),
        _say_table(pairs),
        _say_running(pairs, trainings),
        _say_ended("failed", pairs, "failed"),
        _say_ended("stopped (nobody works on it; the next run of Snakemake resumes it)", pairs, "stopped"),
        list(_say_left(estimator, pairs, trainings)),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


Pairs = Sequence[tuple[Job, State]]


def _say_headline(study: str, pairs: Pairs, seen: Look) -> list[str]:
    models = {job.model for job, _ in pairs if job.model}
    unfinished = {job.model for job, state in pairs if job.model and state.name != "done"}
    clock = time.strftime("%H:%M:%S", time.localtime(seen.now_s))
    lines = [f"{study} at {clock}: {len(models - unfinished)} of {len(models)} models complete"]
    heads = [str(process.pid) for process in seen.processes if process.is_head]
    if heads:
        lines.append(f"Snakemake runs here: process {', '.join(heads)}")
    elif any(state.name != "done" for _, state in pairs):
        lines.append(
            f"no Snakemake is seen in this folder on {platform.node()}: if none runs on another node either,"
            " start it again (after a kill, with python scripts/recover.py first)"
        )
    return [*lines, *([f"note: {seen.note}"] if seen.note else [])]


def _say_table(pairs: Pairs) -> list[str]:
    """Count jobs by rule and state; columns of states that do not occur are left out."""
    counts = Counter((job.rule, state.name) for job, state in pairs)
    states = [name for name in STATES if any(state == name for _, state in counts)]
    rules = dict.fromkeys(job.rule for job, _ in pairs)
    rows = [[rule, *(counts[rule, name] or "." for name in states)] for rule in rules]
    return [tabulate(rows, headers=["jobs", *states], colalign=["left"] + ["right"] * len(states), tablefmt="plain")]


def _say_running(pairs: Pairs, trainings: Mapping[str, Progress]) -> list[str]:
    """Return one line per running job; a training's says how far it is."""
    lines = [
        f"  {job.title}  " + (f"{_say_progress(trainings[job.title])}; " if job.title in trainings else "") + state.why
        for job, state in pairs
        if state.name == "running"
    ]
    return ["running", *lines] if lines else []


def _say_progress(progress: Progress) -> str:
    if progress.left_s is None:
        return f"epoch 1 of {progress.epochs}, none has ended yet"
    last = progress.rows[-1]
    if len(progress.rows) >= progress.epochs:
        return f"all {progress.epochs} epochs done, writing the model"
    return (
        f"epoch {last.epoch} of {progress.epochs} done, val loss {last.val_loss:.4f}, val macro F1"
        f" {last.val_macro_f1:.4f}, {progress.epoch_s:.1f} s an epoch, {format_duration(progress.left_s)} left"
    )


def _say_ended(title: str, pairs: Pairs, name: str) -> list[str]:
    """Return the jobs in a state, each with what shows it and where its log is."""
    lines = [f"  {job.title}: {state.why}; log: {job.log}" for job, state in pairs if state.name == name]
    return [title, *lines] if lines else []


def _say_left(estimator: Estimator, pairs: Pairs, trainings: Mapping[str, Progress]) -> Iterator[str]:
    """Estimate the rest of all trainings: by their own epochs, else as scripts/plan.py does."""
    unfinished = [(job, state) for job, state in pairs if job.title in trainings]
    if not unfinished:
        yield "time left: all trainings are done"
        return
    own = ((trainings[job.title].left_s, job) for job, _ in unfinished)
    lefts = [estimator.estimate(job).seconds if left_s is None else left_s for left_s, job in own]
    known = [left for left in lefts if left is not None]
    if not known:
        yield f"time left: unknown, no epoch of any training has ended yet ({len(lefts)} trainings to go)"
        return
    running = max(1, sum(state.name == "running" for _, state in unfinished))
    least_s = max(max(known), sum(known) / running)
    yield f"time left: at least {format_duration(least_s)} of training, {running} at once, without waiting in the queue"
    if len(known) < len(lefts):
        yield f"  not counted, as nothing is known of their speed yet: {len(lefts) - len(known)} trainings"
