"""A plan in words and tables, to be read in a terminal. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from tabulate import tabulate

from cxrflow.files.formats import format_bytes, format_duration, format_hours
from cxrflow.operate.dry_run import Job
from cxrflow.operate.estimate import NEVER, Basis, Estimate
from cxrflow.operate.plan import Plan, Span
from cxrflow.operate.run_profile import choose_partition

HOW_TO_MEASURE = (
    "To measure what is missing, run any study whole: `make demo` (drawn X-rays, on this machine), or on the devices"
    " that will compute `snakemake --profile {profile} --configfile config/quick.yaml`; then plan again."
)


def describe_plan(plan: Plan, free_bytes: int) -> str:
    """Return the whole plan as text.

    Args:
        plan: what to describe.
        free_bytes: on the disk that the results go to.
    """
    if not plan.jobs:
        return "Nothing to do: everything asked for is there."
    parts = [_jobs_part(plan), _totals_part(plan), _disk_part(plan, free_bytes), _chain_part(plan), _sources_part(plan)]
    return "\n\n".join(part for part in [*parts, _warnings_part(plan), _missing_part(plan)] if part)


def _jobs_part(plan: Plan) -> str:
    """Return one line per rule and request."""
    groups: dict[tuple[object, ...], list[Job]] = defaultdict(list)
    for job in plan.jobs.values():
        groups[(job.rule, *_request(plan, job))].append(job)
    rows = [[key[0], len(jobs), *key[1:], _each(plan, jobs)] for key, jobs in groups.items()]
    headers = ["rule", "jobs", "threads", "mem_mb", "runtime (min)", "gpu", "partition", "estimated for each"]
    filled = [i for i in range(len(headers)) if any(row[i] != "" for row in rows)]
    table = tabulate([[row[i] for i in filled] for row in rows], headers=[headers[i] for i in filled])
    return f"{len(plan.jobs)} jobs, and what each of them asks for\n\n{table}"


def _request(plan: Plan, job: Job) -> tuple[object, ...]:
    asked = [job.resources.get(name, "") for name in ("mem_mb", "runtime", "gpu")]
    return job.threads, *asked, choose_partition(job, plan.profile.partitions)


def _each(plan: Plan, jobs: Sequence[Job]) -> str:
    seconds = [plan.measured[job.jobid].seconds for job in jobs if job.jobid in plan.measured]
    if not seconds:
        return "not measured"
    shortest, longest = format_duration(min(seconds)), format_duration(max(seconds))
    text = shortest if shortest == longest else f"{shortest} to {longest}"
    return text + (f" ({len(jobs) - len(seconds)} not measured)" if len(seconds) < len(jobs) else "")


def _totals_part(plan: Plan) -> str:
    limits = ", ".join(f"{name} {value}" for name, value in plan.profile.limits.items())
    if not plan.measured:
        return "Estimates: none, as no job was ever measured."
    rows = [
        ["GPU time", _span(plan.gpu_s) if plan.gpu_s.seconds else "none"],
        ["CPU time (threads claimed)", _span(plan.cpu_s)],
        [f"wall time with {limits}", _span(plan.wall_s)],
    ]
    notes = ["Without waiting in a queue." * plan.profile.is_cluster]
    if plan.not_measured:
        notes.append(f"Left out, as not measured: {_count_rules(plan, plan.not_measured)}.")
    others = [jobid for jobid, each in plan.measured.items() if each.basis.is_other_device]
    if others:
        notes.append(f"MEASURED ON ANOTHER DEVICE than will compute: {_count_rules(plan, others)}.")
    table = tabulate(rows, headers=["estimate", "median (fastest to slowest measurement)"])
    return "\n".join([table, "", *filter(None, notes)]).rstrip()


def _span(span: Span) -> str:
    return f"{format_hours(span.seconds)} ({format_hours(span.low)} to {format_hours(span.high)})"


def _count_rules(plan: Plan, jobids: Iterable[int]) -> str:
    counts = Counter(plan.jobs[jobid].rule for jobid in jobids)
    return ", ".join(f"{rule} ({n})" for rule, n in counts.items())


def _disk_part(plan: Plan, free_bytes: int) -> str:
    rows = [[use.what, "not measured" if use.size is None else format_bytes(use.size), use.source] for use in plan.disk]
    peak = sum(use.size or 0 for use in plan.disk)
    kept = sum(use.size or 0 for use in plan.disk if not use.is_temporary)
    if not rows:
        return ""
    rows.append(["together", format_bytes(kept), f"at most {format_bytes(peak)} while it runs"])
    lack = "" if peak < free_bytes else " NOT ENOUGH: free space first, or link results/ to a larger disk."
    table = tabulate(rows, headers=["disk", "size", "how it is known"], colalign=("left", "right", "left"))
    return f"{table}\n\n{format_bytes(free_bytes)} are free where results go.{lack}"


def _chain_part(plan: Plan) -> str:
    if not plan.chain:
        return ""
    rows = [[plan.jobs[jobid].title, format_duration(plan.measured[jobid].seconds)] for jobid in plan.chain]
    ratio = plan.wall_s.seconds / plan.chain_s
    decides = (
        "it decides the wall time; more jobs at once would not help"
        if ratio < 1.01
        else f"the limits decide the wall time, which is {ratio:.3g} times as long"
    )
    table = tabulate(rows, headers=["the critical path", "takes"], colalign=("left", "right"))
    zero = " Jobs that were not measured count as nothing here." if plan.not_measured else ""
    return f"{table}\n\nTogether {format_duration(plan.chain_s)}: {decides}.{zero}"


def _sources_part(plan: Plan) -> str:
    """Return what each estimate rests on, one line per kind."""
    groups: dict[Basis, list[Estimate]] = defaultdict(list)
    for jobid in plan.jobs:  # in the order of the table above
        if each := plan.measured.get(jobid):
            groups[each.basis].append(each)
    remarks = list(dict.fromkeys(remark for basis in groups for remark in basis.remarks))
    rows = [
        [b.what, len(each), b.measured, b.spread, b.places, " ".join(f"[{remarks.index(r) + 1}]" for r in b.remarks)]
        for b, each in groups.items()
    ]
    table = tabulate(rows, headers=["estimate of", "jobs", "rests on", "measured", "where", "notes"]) if rows else ""
    notes = [f"[{number}] {remark}" for number, remark in enumerate(remarks, start=1)]
    counts = [f"{name}: {each.total:,} images, {each.origin}" for name, each in plan.known.counts.items()]
    return "\n\n".join(part for part in (table, "\n".join(notes), "\n".join(counts)) if part)


def _warnings_part(plan: Plan) -> str:
    """Return one line per rule whose jobs would be killed for time."""
    over: dict[str, list[tuple[float, Job]]] = defaultdict(list)
    for jobid, each in plan.measured.items():
        job = plan.jobs[jobid]
        can_tell = not each.basis.is_other_device  # a CPU's time says nothing of a GPU's
        if plan.profile.is_cluster and can_tell and 0 < job.ask("runtime") * 60 < each.seconds:
            over[job.rule].append((each.seconds, job))
    return "\n".join(
        f"WARNING: {len(jobs)} {rule} job(s) ask for less time than estimated, at worst {job.title}: "
        f"{format_duration(seconds)}, and it asks for {job.ask('runtime')} min. Raise set-resources: {rule}: runtime"
        f" in {plan.profile.folder / 'config.yaml'}."
        for rule, jobs in over.items()
        for seconds, job in [max(jobs, key=lambda pair: pair[0])]
    )


def _missing_part(plan: Plan) -> str:
    if not plan.not_measured:
        return ""
    reasons: dict[str, list[int]] = defaultdict(list)
    for jobid, each in plan.not_measured.items():
        reasons[each.reason].append(jobid)
    lines = [f"Not measured: {_count_rules(plan, jobids)}: {reason}." for reason, jobids in reasons.items()]
    return "\n".join([*lines, *([HOW_TO_MEASURE.format(profile=plan.profile.folder)] * (NEVER in reasons))])
