"""One look at a study, while it runs or after, as text: jobs by state, running trainings, what failed, the time left.

Snakemake's dry run says which jobs remain. What runs, waits or has failed is seen in Slurm's queue,
the leases, the processes of this machine and the ends of logs. Locks nothing, so a running study is not disturbed.
"""

import platform
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tabulate import tabulate

from cxrflow.config.missing import list_models, name_shared_jobs
from cxrflow.files.formats import format_duration
from cxrflow.files.records import EpochRow
from cxrflow.models.progress import parse_epochs
from cxrflow.operate.estimates import Estimator
from cxrflow.operate.jobs import Job
from cxrflow.operate.states import Look, State, find_state

STATES = ("done", "running", "queued", "failed", "stopped", "not started")
RECENT_EPOCHS = 5
# A job that works may be silent for so long: a training, once it has an epoch, for some of them and at least a while.
SILENT_S, SILENT_EPOCHS, SILENT_LEAST_S = 3600.0, 3, 900.0


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
    shared = name_shared_jobs(study, list_models(study, study.layout))
    jobs = [replace(job, shared=shared.get((job.rule, job.model), "")) if job.model else job for job in jobs]
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
        _say_running(pairs, trainings, seen),
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
    if seen.heads:
        lines.append(f"Snakemake runs here: {', '.join(seen.heads)}")
    elif any(state.name != "done" for _, state in pairs):
        lines.append(
            f"no Snakemake is seen in this folder on {platform.node()}: if none runs on another node either,"
            " start it again (after a kill, with python scripts/recover.py first)"
        )
    if seen.forgotten:
        lines.append(
            f"Slurm has forgotten job {', '.join(seen.forgotten)}, and Snakemake would wait for it for ever:"
            f" {'; '.join(seen.heads.values())}; then python scripts/recover.py, and start it again"
        )
    return [*lines, *([f"note: {seen.note}"] if seen.note else [])]


def _say_table(pairs: Pairs) -> list[str]:
    """Count jobs by rule and state; columns of states that do not occur are left out."""
    counts = Counter((job.rule, state.name) for job, state in pairs)
    states = [name for name in STATES if any(state == name for _, state in counts)]
    rules = dict.fromkeys(job.rule for job, _ in pairs)
    rows = [[rule, *(counts[rule, name] or "." for name in states)] for rule in rules]
    return [tabulate(rows, headers=["jobs", *states], colalign=["left"] + ["right"] * len(states), tablefmt="plain")]


def _say_running(pairs: Pairs, trainings: Mapping[str, Progress], seen: Look) -> list[str]:
    """Return one line per running job; a training's says how far it is, and one that stands still how to end it."""
    lines = []
    for job, state in pairs:
        if state.name == "running":
            progress = trainings.get(job.title)
            how_far = f"{_say_progress(progress)}; " if progress else ""
            lines.append(f"  {job.title}  {how_far}{state.why}{_say_stall(job, state, progress, seen)}")
    return ["running", *lines] if lines else []


def _say_stall(job: Job, state: State, progress: Progress | None, seen: Look) -> str:
    """Return that a job has stood still for too long, and the command that ends it; empty: it has not."""
    try:
        silent_s = seen.now_s - (seen.folder / job.log).stat().st_mtime
    except OSError:  # it has just begun
        return ""
    known = progress if progress and progress.rows else None
    if silent_s < (max(SILENT_LEAST_S, SILENT_EPOCHS * known.epoch_s) if known else SILENT_S):
        return ""
    silent = format_duration(silent_s)
    return f"; STALLED: no line in its log for {silent}; {state.stop} ends it, and the next attempt goes on"


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
