"""One look at a running study, as text: steps by state, the running trainings, what failed, the time left."""

import platform
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from cxrflow.config.study import Study
from cxrflow.files.formats import format_duration
from cxrflow.operate.evidence import STATES, Evidence, Sight, look, see_step
from cxrflow.operate.image_counts import count_total
from cxrflow.operate.progress import Progress, TimeLeft, estimate_left, read_progress
from cxrflow.operate.steps import Step, expected_steps

SLOW_EPOCHS = 5  # epochs' time without a new one is worth a word
Sights = Mapping[Step, Sight]


def describe_study(study: Study, folder: Path) -> str:
    """Look at a study in a folder once and return what there is to say, in lines."""
    steps = expected_steps(study)
    evidence = look(folder, steps)
    sights = {step: see_step(step, evidence) for step in steps}
    trainings = {
        step: read_progress(study, step.model, folder / step.log, evidence.now_s)
        for step in steps
        if step.rule == "train" and step.model
    }
    blocks = [
        _headline(study, evidence, sights),
        _table(sights),
        _running(sights, trainings),
        _named("failed", sights),
        _named("stopped (nobody works on it; the next run of Snakemake goes on)", sights, "stopped"),
        [_say_left(study, folder, sights, trainings)],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _headline(study: Study, evidence: Evidence, sights: Sights) -> list[str]:
    models = {step.model for step in sights if step.model}
    unfinished = {step.model for step, sight in sights.items() if sight.state != "done"}
    clock = time.strftime("%H:%M:%S", time.localtime(evidence.now_s))
    lines = [f"{study.settings.study} at {clock}: {len(models - unfinished)} of {len(models)} models complete"]
    heads = [process.pid for process in evidence.processes if process.is_head]
    if heads:
        lines.append(f"Snakemake runs here: process {', '.join(map(str, heads))}")
    elif unfinished:
        lines.append(
            f"no Snakemake is seen in this folder on {platform.node()}: if none runs on another node either,"
            " start it again (after a kill, with python scripts/recover.py first)"
        )
    if evidence.jobs:
        active = Counter(job.state for job in evidence.jobs if job.is_active)
        counts = ", ".join(f"{n} {state.lower()}" for state, n in active.items()) or "none in the queue"
        lines.append(f"Slurm jobs of this folder: {counts}")
    return [*lines, *(f"note: {note}" for note in evidence.notes)]


def _table(sights: Sights) -> list[str]:
    """Count steps by rule and state; columns of states that do not occur are left out."""
    counts = {rule: Counter[str]() for rule in dict.fromkeys(step.rule for step in sights)}
    for step, sight in sights.items():
        counts[step.rule][sight.state] += 1
    states = [state for state in STATES if any(count[state] for count in counts.values())]
    width = max(map(len, counts))
    lines = [f"{'step':<{width}}" + "".join(f"  {state:>{max(5, len(state))}}" for state in states)]
    for rule, count in counts.items():
        cells = (f"  {count[state] or '.':>{max(5, len(state))}}" for state in states)
        lines.append(f"{rule:<{width}}" + "".join(cells))
    return lines


def _running(sights: Sights, trainings: Mapping[Step, Progress]) -> list[str]:
    """Return one line per running step; a training's says how far it is."""
    running = {step: sight for step, sight in sights.items() if sight.state == "running"}
    if not running:
        return []
    width = max(len(_name(step)) for step in running)
    lines = ["running"]
    for step, sight in running.items():
        said = f"{_say_progress(trainings[step])}; {sight.why}" if step in trainings else sight.why
        lines.append(f"  {_name(step):<{width}}  {said}")
    return lines


def _say_progress(progress: Progress) -> str:
    if progress.epoch_s is None:
        return f"epoch 1 of {progress.epochs}, none has ended yet"
    last, epoch_s = progress.rows[-1], progress.epoch_s
    if len(progress.rows) >= progress.epochs:
        return f"all {progress.epochs} epochs done, writing the model"
    text = (
        f"epoch {last.epoch} of {progress.epochs} done, val loss {last.val_loss:.4f},"
        f" val macro F1 {last.val_macro_f1:.4f}, {epoch_s:.1f} s an epoch,"
        f" {format_duration(progress.left_s(epoch_s))} left"
    )
    slow = progress.quiet_s > SLOW_EPOCHS * epoch_s
    return text + (f" (no epoch has ended for {format_duration(progress.quiet_s)})" if slow else "")


def _named(title: str, sights: Sights, state: str = "failed") -> list[str]:
    """Return the steps in a state, each with what shows it and where its log is."""
    lines = [f"  {_name(step)}: {sight.why}; log: {step.log}" for step, sight in sights.items() if sight.state == state]
    return [title, *lines] if lines else []


def _name(step: Step) -> str:
    return f"{step.rule} {step.label}".strip()


def _say_left(study: Study, folder: Path, sights: Sights, trainings: Mapping[Step, Progress]) -> str:
    order = {"running": 0, "queued": 1}
    unfinished = sorted(
        (step for step in trainings if sights[step].state != "done"), key=lambda step: order.get(sights[step].state, 2)
    )
    if not unfinished:
        return "time left: all trainings are done"
    running = sum(sights[step].state == "running" for step in unfinished)

    def n_images(dataset: str) -> int:
        return count_total(study, dataset, folder)[0] or 0

    left = estimate_left([trainings[step] for step in unfinished], list(trainings.values()), running, n_images)
    return "\n".join(_say_estimate(left, len(unfinished), running))


def _say_estimate(left: TimeLeft, unfinished: int, running: int) -> Iterator[str]:
    if left.wall_s is None:
        yield f"time left: unknown, no epoch of any training has ended yet ({unfinished} trainings to go)"
        return
    at_once = f"{running} at once, as now" if running else "one after the other, because none runs now"
    yield f"time left: about {format_duration(left.wall_s)} of training, without waiting in the queue"
    yield (
        f"  = epochs to go x the median time of the last epochs, {format_duration(left.work_s)} in all, {at_once};"
        " the other steps are not counted"
    )
    if left.by_likeness:
        yield (
            f"  {left.by_likeness} without an epoch yet: taken from the same backbone, in proportion to the datasets'"
            " images"
        )
    if left.unknown:
        yield f"  {left.unknown} not counted: no epoch of their backbone has ended yet"
