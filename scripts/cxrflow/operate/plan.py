"""A plan: the jobs of a dry run with their estimates, their schedule, their critical path and their disk. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cxrflow.operate.disk import DiskUse, estimate_disk
from cxrflow.operate.dry_run import Job, find_dependencies
from cxrflow.operate.estimate import Estimate, Known, NotMeasured, estimate_jobs, expected_device
from cxrflow.operate.job_schedule import Task, find_critical_path, simulate, sort_by_dependency
from cxrflow.operate.run_profile import RunProfile

CASES = ("seconds", "low", "high")


@dataclass(frozen=True)
class Span:
    """A sum over jobs, in seconds: by the medians of the measurements, their fastest, their slowest."""

    seconds: float
    low: float
    high: float


@dataclass(frozen=True)
class Plan:
    """What would run and what it takes.

    Attributes:
        jobs: by number, each after those that it waits for.
        estimates: by the job's number.
        profile: that they run under.
        known: what the estimates rest on.
        gpu_s, cpu_s: seconds of GPUs and of claimed threads, added up.
        wall_s: from the first start to the last end.
        chain_s: of the critical path: the wall time if everything could run at once.
        chain: numbers of the jobs on the critical path.
        disk: what the files take.
    """

    jobs: dict[int, Job]
    estimates: dict[int, Estimate | NotMeasured]
    profile: RunProfile
    known: Known
    gpu_s: Span
    cpu_s: Span
    wall_s: Span
    chain_s: float
    chain: list[int]
    disk: list[DiskUse]

    @property
    def measured(self) -> dict[int, Estimate]:
        """The jobs that have an estimate."""
        return {jobid: each for jobid, each in self.estimates.items() if isinstance(each, Estimate)}

    @property
    def not_measured(self) -> dict[int, NotMeasured]:
        """The jobs that have none."""
        return {jobid: each for jobid, each in self.estimates.items() if isinstance(each, NotMeasured)}


def make_plan(jobs: Sequence[Job], profile: RunProfile, known: Known) -> Plan:
    """Estimate every job and schedule them all; a job that was never measured takes no time and no part in the sums."""
    jobs = [profile.as_run(job) for job in jobs]
    by_id = {job.jobid: job for job in jobs}
    estimates = estimate_jobs(jobs, known)
    measured = [(job, each) for job in jobs if isinstance(each := estimates[job.jobid], Estimate)]
    tasks = _make_tasks(jobs, estimates, profile, "seconds")
    chain = find_critical_path(tasks)
    seconds = {task.id: task.seconds for task in tasks}
    return Plan(
        jobs={task.id: by_id[task.id] for task in sort_by_dependency(tasks)},
        estimates=estimates,
        profile=profile,
        known=known,
        gpu_s=_span(lambda case: sum(count_gpus(job, known) * getattr(each, case) for job, each in measured)),
        cpu_s=_span(lambda case: sum(job.threads * getattr(each, case) for job, each in measured)),
        wall_s=_span(lambda case: _wall_s(_make_tasks(jobs, estimates, profile, case), profile)),
        chain_s=sum(seconds[jobid] for jobid in chain),
        chain=[jobid for jobid in chain if seconds[jobid]],
        disk=estimate_disk(jobs, known, profile),
    )


def count_gpus(job: Job, known: Known) -> int:
    """Return the GPUs that a job holds: those it asks for, else one where its device is cuda."""
    return job.gpus or int(expected_device(job, known.study) == "cuda")


def _make_tasks(
    jobs: Sequence[Job], estimates: dict[int, Estimate | NotMeasured], profile: RunProfile, case: str
) -> list[Task]:
    after = find_dependencies(jobs)
    return [
        Task(
            id=job.jobid,
            seconds=getattr(estimates[job.jobid], case, 0.0),
            after=frozenset(after[job.jobid]),
            needs=profile.needs_of(job),
            priority=job.priority,
        )
        for job in jobs
    ]


def _wall_s(tasks: Sequence[Task], profile: RunProfile) -> float:
    return max((end for _, end in simulate(tasks, profile.limits).values()), default=0.0)


def _span(total: Callable[[str], float]) -> Span:
    return Span(*(total(case) for case in CASES))
