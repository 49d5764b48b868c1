"""A plan: the jobs of a dry run, how long they take, what decides that, and the disk that they fill, as text. Pure."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tabulate import tabulate

from cxrflow.config.layout import RESULTS, Layout
from cxrflow.config.missing import list_models, name_shared_jobs
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import read_json
from cxrflow.files.formats import format_bytes, format_duration, format_hours
from cxrflow.operate.estimates import NO_RATE, Estimator, read_trained_s
from cxrflow.operate.jobs import Job, Profile, find_dependencies

BYTES_PER_WEIGHT = 4  # float32; features too
# Two checkpoints are kept of a training that runs, each with the weights, Adam's two moments and the best weights.
CHECKPOINT_MODELS = 2 * 4


class Plan:
    """The jobs of a dry run under a profile, with what they take; `times` are 0 where that is unknown."""

    def __init__(self, jobs: Sequence[Job], profile: Profile, estimator: Estimator) -> None:
        """Estimate every job."""
        self.jobs, self.profile, self.estimator = jobs, profile, estimator
        self.answers = [estimator.estimate(job) for job in jobs]
        self.times = [each.seconds or 0.0 for each in self.answers]

    def sum_s(self, amount: Callable[[Job], int]) -> float:
        """Return the seconds of all jobs, each times an amount."""
        return sum(amount(job) * seconds for job, seconds in zip(self.jobs, self.times, strict=True))

    def gpus_of(self, job: Job) -> int:
        """Return the GPUs that a job holds; on one machine trainings ask for one whether there is one or not."""
        device = self.estimator.device_of(job)
        return 0 if device == "cpu" and not self.profile.is_cluster else job.gpus or int(device == "cuda")

    def lacking_rates(self) -> list[str]:
        """Return the backbones whose images/s profile_backbone would measure for jobs without an estimate."""
        pairs = zip(self.jobs, self.answers, strict=True)
        lacking = (job for job, each in pairs if each.source == NO_RATE and self.estimator.is_profiled(job))
        return sorted({model.backbone for job in lacking if (model := self.estimator.model_of(job))})

    def find_critical_path(self) -> list[int]:
        """Return the places of the jobs, each waiting for the one before, that take the longest together."""
        after = find_dependencies(self.jobs)
        ends: dict[int, float] = {}

        def end_of(place: int) -> float:
            if place not in ends:
                ends[place] = self.times[place] + max(map(end_of, after[place]), default=0.0)
            return ends[place]

        chain: list[int] = []
        last = max(range(len(self.jobs)), key=end_of, default=None)
        while last is not None:
            chain.append(last)
            last = max(sorted(after[last]), key=end_of, default=None)
        return [place for place in reversed(chain) if self.times[place]]

    def least_wall_s(self) -> tuple[float, str]:
        """Return the least wall time in seconds, and what decides it: the critical path, or work over a limit."""
        name, limit, gpus = self.profile.limit_name, self.profile.limit, self.profile.gpus
        used = (lambda _job: 1) if self.profile.is_cluster else (lambda job: min(job.threads, limit))
        bounds = [(sum(self.times[i] for i in self.find_critical_path()), "the critical path")]
        bounds.append((self.sum_s(used) / limit, f"{name}: {limit}"))
        if gpus is not None:
            bounds.append((self.sum_s(lambda job: job.ask("gpu")) / gpus, f"gpu: {gpus}"))
        return max(bounds)


def describe_plan(plan: Plan, free_bytes: int, measure: str) -> str:
    """Return the whole plan as text.

    Args:
        plan: to describe.
        free_bytes: on the disk that the results go to.
        measure: the command that measures what is unknown.
    """
    if not plan.jobs:
        return "Nothing to do: all that was asked for is up to date."
    parts = [_say_repeats(plan), _say_jobs(plan), _say_totals(plan), _say_path(plan), _say_disk(plan, free_bytes)]
    parts += [_say_warnings(plan), _say_later(plan)]
    if backbones := plan.lacking_rates():
        parts.append(f"To measure {', '.join(backbones)} there, one short job each:\n  {measure}")
    return "\n\n".join(filter(None, parts))


def _say_jobs(plan: Plan) -> str:
    """Return one line per rule, request and source of the estimate, and the numbers of images."""
    groups: dict[tuple[object, ...], list[float]] = defaultdict(list)
    for job, answer in zip(plan.jobs, plan.answers, strict=True):
        asked = [job.resources.get(name, "") for name in ("mem_mb", "runtime")]
        groups[(job.rule, job.threads, *asked, plan.gpus_of(job) or "", answer.source)].append(answer.seconds or 0.0)
    headers = ["rule", "jobs", "threads", "mem_mb", "runtime (min)", "gpus", "each takes", "by"]
    rows = [[key[0], len(times), *key[1:-1], _say_range(times), key[-1]] for key, times in groups.items()]
    filled = [i for i in range(len(headers)) if any(row[i] != "" for row in rows)]
    table = tabulate([[row[i] for i in filled] for row in rows], headers=[headers[i] for i in filled])
    used = {job.wildcards.get("dataset") for job in plan.jobs}
    counts = plan.estimator.counts.items()
    lines = [f"{name}: {count.total:,} images, {count.source}" for name, count in counts if count and name in used]
    title = f"{len(plan.jobs)} jobs{_say_shared(plan)}, and what each of them asks for"
    return "\n\n".join(filter(None, [title, table, "\n".join(lines)]))


def _say_shared(plan: Plan) -> str:
    """Return how many Slurm jobs some of them share; empty: each has its own."""
    study = plan.estimator.study
    shared = name_shared_jobs(study, list_models(study, study.layout)) if plan.profile.is_cluster else {}
    names = [name for job in plan.jobs if job.model and (name := shared.get((job.rule, job.model)))]
    return f", of which {len(names)} share {len(set(names))} Slurm jobs" if names else ""


def _say_repeats(plan: Plan) -> str:
    """Return why each finished training would run again, and what it took."""
    found = [(job, read_trained_s(history)) for job in plan.jobs if (history := find_history(job.rule, job.outputs))]
    rows = [[job.title, format_duration(seconds), job.reason] for job, seconds in found if seconds]
    total = format_hours(sum(seconds for _, seconds in found))
    limit = f"Together {total}; a run stops above compute.repeat_hours."
    return f"{tabulate(rows, headers=['finished, and would run again', 'took', 'why'])}\n\n{limit}" if rows else ""


def find_history(rule: str, outputs: Iterable[str]) -> Path | None:
    """Return the history of epochs that a training's job writes; None: it is no training."""
    return next((Path(path) for path in outputs if rule == "train" and Path(path).name == "history.csv"), None)


def describe_repeats(jobs: Iterable[tuple[str, Sequence[str], str]], limit_hours: float) -> str:
    """Return what to tell where finished trainings that would run again took more than a limit; empty: they did not.

    Args:
        jobs: rule, outputs and reason of each job that would run.
        limit_hours: that may be repeated.
    """
    found = [(path, reason) for rule, outputs, reason in jobs if (path := find_history(rule, outputs))]
    repeats = [(path.parent, seconds, reason) for path, reason in found if (seconds := read_trained_s(path))]
    total_s = sum(seconds for _, seconds, _ in repeats)
    if total_s <= limit_hours * 3600:
        return ""
    lines = [f"  {model} ({format_duration(seconds)}): {reason}" for model, seconds, reason in repeats]
    return (
        f"finished trainings that took {format_hours(total_s)} would run again, and compute.repeat_hours is"
        f" {limit_hours:g}:\n" + "\n".join(lines) + "\nTo let them, add --config"
        f" 'compute={{repeat_hours: {math.ceil(total_s / 3600)}}}'"
    )


def _say_range(times: Sequence[float]) -> str:
    ends = dict.fromkeys(map(format_duration, (min(times), max(times))))
    return " to ".join(ends) if max(times) else "unknown"


def _say_totals(plan: Plan) -> str:
    if not any(plan.times):
        return ""
    wall_s, reason = plan.least_wall_s()
    gpu_s = plan.sum_s(plan.gpus_of)
    queue = ", without the wait in the queue" if plan.profile.is_cluster else ""
    rows = [
        ["GPU time", format_hours(gpu_s) if gpu_s else "none"],
        ["CPU time (threads claimed)", format_hours(plan.sum_s(lambda job: job.threads))],
        ["wall time, at least", f"{format_hours(wall_s)}: {reason} decides{queue}"],
    ]
    lacks = any(answer.seconds is None for answer in plan.answers)
    return tabulate(rows, headers=["estimate", "without unknown jobs" if lacks else ""], disable_numparse=True)


def _say_path(plan: Plan) -> str:
    rows = [[plan.jobs[place].title, format_duration(plan.times[place])] for place in plan.find_critical_path()]
    return tabulate(rows, headers=["the critical path", "takes"], colalign=("left", "right")) if rows else ""


def _say_later(plan: Plan) -> str:
    """Return how many trainings of what searches find are not planned yet."""
    searching = {job.wildcards["search"] for job in plan.jobs if job.rule == "choose_settings"}
    n_later = len(searching) * len(plan.estimator.study.settings.seeds)
    return f"What {', '.join(sorted(searching))} will find is then trained, {n_later} models, in a second run." * bool(
        searching
    )


def _say_warnings(plan: Plan) -> str:
    """Return one line per rule whose jobs no partition takes, or would be killed for time."""
    warnings: dict[str, str] = {}
    for seconds, job in sorted(zip(plan.times, plan.jobs, strict=True), key=lambda pair: -pair[0]):
        if plan.profile.is_cluster and 0 < job.ask("runtime") * 60 < seconds:
            warning = (
                f"WARNING: {job.title} is estimated at {format_duration(seconds)} and asks for {job.ask('runtime')}"
                f" min: raise set-resources: {job.rule}: runtime in {plan.profile.path}."
            )
            warnings.setdefault(f"{job.rule} time", warning)
        try:
            plan.profile.partition_of(job)
        except CxrflowError as error:
            warnings.setdefault(job.rule, f"WARNING: {error}.")
    return "\n".join(warnings.values())


def _say_disk(plan: Plan, free_bytes: int) -> str:
    uses = estimate_disk(plan)
    if not uses:
        return ""
    rows = [[what, "unknown" if size is None else format_bytes(size), source] for what, size, source in uses]
    total = sum(size or 0 for _, size, _ in uses)
    rows.append(["together", format_bytes(total), "at most, while it runs"])
    lack = "" if total < free_bytes else " NOT ENOUGH: free space first, or link results/ to a larger disk."
    table = tabulate(rows, headers=["disk", "size", "how it is known"], colalign=("left", "right", "left"))
    return f"{table}\n\n{format_bytes(free_bytes)} are free where results go.{lack}"


def estimate_disk(plan: Plan) -> list[tuple[str, int | None, str]]:
    """Return (what, bytes or None, how it is known) of the large files that the jobs write."""
    study, counts = plan.estimator.study, plan.estimator.counts
    by_rule: dict[str, list[Job]] = defaultdict(list)
    for job in plan.jobs:
        by_rule[job.rule].append(job)
    pixels = [
        count.total * study.recipes()[job.wildcards["recipe"]].size_px ** 2
        for job in by_rule["preprocess"]
        if (count := counts[job.wildcards["dataset"]])
    ]
    sizes = [read_model_bytes(job.wildcards["backbone"]) for job in by_rule["train"]]
    models = None if None in sizes else sum(size or 0 for size in sizes)
    at_once = max(1, min(plan.profile.limit, plan.profile.gpus or plan.profile.limit))
    largest = sorted((size or 0 for size in sizes), reverse=True)[:at_once]
    checkpoints = None if models is None else CHECKPOINT_MODELS * sum(largest)
    source = f"{CHECKPOINT_MODELS} models for each training at once, here {len(largest)}"
    halving = {name: read_model_bytes(tune.backbone) for name, tune in study.searches().items() if tune.rungs[1:]}
    asked = [halving[job.wildcards["search"]] for job in by_rule["trial"] if job.wildcards["search"] in halving]
    kept = None if None in asked else CHECKPOINT_MODELS * sum(size or 0 for size in asked)
    return [
        *([("packed images", sum(pixels) if pixels else None, "images x pixels")] if by_rule["preprocess"] else []),
        *(
            [("models", models, "float32 weights"), ("checkpoints while training", checkpoints, source)]
            if sizes
            else []
        ),
        *([("checkpoints of trials", kept, "at most, until their search is over")] if asked else []),
    ]


def read_model_bytes(backbone: str) -> int | None:
    """Return the size of model.pt by the weights that profile_backbone counted, in any study; None: it never has."""
    found = RESULTS.glob(str(Layout(Path("*")).backbone(backbone)))
    return next((int(read_json(path)["params"]) * BYTES_PER_WEIGHT for path in found), None)
