"""Whether a cluster and this folder are ready for a study, one line per finding; asked before any job is submitted.

A check is a function of a `Cluster`; to add one, add it to CLUSTER_CHECKS here or to FOLDER_CHECKS in check_folder.py.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cxrflow.errors import CxrflowError
from cxrflow.operate import slurm
from cxrflow.operate.cluster_profile import ClusterProfile, Request
from cxrflow.operate.slurm import NodeGroup

MIN_JOB_AGE_WAITS = 3  # MinJobAge is at least this many first waits, or squeue forgets jobs before they are seen


@dataclass(frozen=True)
class Finding:
    """One line for the user.

    Attributes:
        level: `OK`, `note` or `PROBLEM`.
        text: what was found.
        remedy: what to do; empty where there is nothing to do.
    """

    level: str
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        """Return the line."""
        return f"{self.level:<8} {self.text}" + (f" -> {self.remedy}" if self.remedy else "")


Findings = Iterator[Finding]


@dataclass(frozen=True)
class Cluster:
    """What Slurm says of itself, and what the profile wants of it."""

    profile: ClusterProfile
    groups: tuple[NodeGroup, ...]
    config: Mapping[str, str]

    def of(self, partition: str) -> list[NodeGroup]:
        """Return the nodes of a partition."""
        return [group for group in self.groups if group.partition == partition]


def check_cluster(profile: ClusterProfile) -> list[Finding]:
    """Return what is found about Slurm; a check that Slurm does not answer is a problem of its own."""
    absent = [name for name in ("sbatch", "squeue", "sinfo", "scontrol", "scancel") if not slurm.has_command(name)]
    if absent:
        remedy = "run this on a login node of the cluster, or load Slurm's module (module load slurm)"
        return [Finding("PROBLEM", f"no {', '.join(absent)} on the PATH: nothing can be submitted from here", remedy)]
    try:
        controllers = slurm.ping_controller()
        cluster = Cluster(profile, tuple(slurm.list_partitions()), slurm.read_config())
    except CxrflowError as error:
        return [Finding("PROBLEM", str(error), "without its answer no job starts: ask the cluster's support")]
    findings = [Finding("OK", "; ".join(" ".join(line.split()) for line in controllers))]
    for check in CLUSTER_CHECKS:
        findings += guard(check, cluster)
    return findings


def guard(check: Callable[[Cluster], Findings], cluster: Cluster) -> list[Finding]:
    """Run one check; an error of it is a finding, not the end of the others."""
    try:
        return list(check(cluster))
    except CxrflowError as error:
        return [Finding("PROBLEM", str(error))]


def check_partitions(cluster: Cluster) -> Findings:
    """Check that the partitions are there and take jobs."""
    known = sorted({group.partition for group in cluster.groups})
    for name in cluster.profile.partitions:
        groups = cluster.of(name)
        if not groups:
            remedy = f"rename it in {cluster.profile.partition_file} to one of: {', '.join(known)}"
            yield Finding("PROBLEM", f"partition {name} is not on this cluster", remedy)
        elif not any(group.is_up for group in groups):
            yield Finding("PROBLEM", f"partition {name} is down", "choose another one, or ask the cluster's support")
        elif not any(group.is_usable for group in groups):
            states = ", ".join(sorted({group.state for group in groups}))
            yield Finding("PROBLEM", f"partition {name}: no node takes jobs ({states})", "jobs would wait for ever")
        else:
            usable = sum(group.n_nodes for group in groups if group.is_usable)
            yield Finding("OK", f"partition {name}: up, nodes that take jobs: {usable}")
    if not cluster.profile.partitions and not any(group.is_default for group in cluster.groups):
        remedy = f"name partitions in a file and give it as slurm-partition-config in {cluster.profile.path}"
        yield Finding("PROBLEM", "the profile names no partition and the cluster has no default one", remedy)


def check_gpus(cluster: Cluster) -> Findings:
    """Check that jobs that want a GPU find a partition with GPUs, and list the models."""
    profile = cluster.profile
    asking = [request.rule for request in profile.requests if request.gpus]
    if not asking:
        return
    names = profile.partitions_for(needs_gpu=True)
    if profile.partitions and not names:
        remedy = f"give the partition with GPUs a `max_gpu:` in {profile.partition_file}"
        yield Finding("PROBLEM", f"{', '.join(asking)} ask for a GPU and no partition has any", remedy)
    for name in names:
        groups = cluster.of(name)
        if groups and not any(group.gpus for group in groups):
            having = sorted({group.partition for group in cluster.groups if group.gpus})
            remedy = (
                f"partitions with GPUs: {', '.join(having)}"
                if having
                else f"this cluster names no GPU: leave `gpu` out of {profile.site_file}"
            )
            yield Finding("PROBLEM", f"partition {name} has no GPU (gres), and GPU jobs go there", remedy)
        elif groups:
            yield _list_gpus(name, groups, profile.site_file)


def _list_gpus(name: str, groups: Iterable[NodeGroup], file: Path) -> Finding:
    """Say which GPUs a partition has, and how one asks for a model."""
    most: dict[str, int] = {}
    for group in groups:
        for model, count in group.gpus.items():
            most[model] = max(most.get(model, 0), count)
    said = ", ".join(f"{model or 'gpu'} (up to {count} on a node)" for model, count in sorted(most.items()))
    models = sorted(filter(None, most))
    hint = f"; to choose a model: `gpu_model: {models[0]}` beside `gpu: 1` in {file}" if models else ""
    return Finding("OK", f"partition {name} has GPUs: {said}{hint}")


def check_limits(cluster: Cluster) -> Findings:
    """Compare what the partition file allows and what the jobs ask with what the cluster allows."""
    profile = cluster.profile
    for name, limits in profile.partitions.items():
        groups = [group for group in cluster.of(name) if group.is_up]
        if not groups:
            continue
        requests = [r for r in profile.requests if name in profile.partitions_for(needs_gpu=r.gpus > 0)]
        findings = [
            finding
            for key, unit, read in LIMITS
            if (finding := _compare(name, key, unit, limits.get(key), max(map(read, groups)), requests, profile))
        ]
        yield from findings or [Finding("OK", f"partition {name}: its limits and the jobs' requests fit the cluster")]


# Key of the partition file, unit, what the cluster says. The same keys name what a job asks (Request.of).
LIMITS: tuple[tuple[str, str, Callable[[NodeGroup], float]], ...] = (
    ("max_runtime", "minutes", lambda group: group.max_minutes),
    ("max_threads", "CPUs of a node", lambda group: group.cpus),
    ("max_mem_mb", "MB of a node", lambda group: group.memory_mib),
)


def _compare(
    name: str,
    key: str,
    unit: str,
    allowed: float | None,
    real: float,
    requests: Iterable[Request],
    profile: ClusterProfile,
) -> Finding | None:
    """Compare one limit; None: all is well. A job refused at once is a problem, a limit that nobody reaches a note."""
    too_much = {
        request.rule: attempt
        for request in requests
        if (attempt := request.first_attempt_above(key, real, profile.attempts))
    }
    cap = f"{key}: {real:.0f}"
    first = [rule for rule, attempt in too_much.items() if attempt == 1]
    if first:
        remedy = (
            f"ask for less in set-resources or set-threads of {profile.path}, and set {cap} in {profile.partition_file}"
        )
        return Finding(
            "PROBLEM", f"partition {name} has {real:.0f} {unit}, less than {', '.join(first)} ask for", remedy
        )
    if too_much:
        remedy = f"such a retry would be refused; lower it in set-resources of {profile.path}"
        said = ", ".join(f"{rule} (attempt {attempt})" for rule, attempt in too_much.items())
        return Finding("note", f"partition {name} has {real:.0f} {unit}, less than retries ask for: {said}", remedy)
    if allowed is not None and allowed > real:
        text = f"{profile.partition_file} allows {allowed:.0f} {unit} in partition {name}, which has {real:.0f}"
        return Finding("note", text, f"no job asks for that much; set {cap}")
    return None


def check_account(cluster: Cluster) -> Findings:
    """Check the account that is charged, where there is accounting."""
    wanted = cluster.profile.account
    storage = cluster.config.get("AccountingStorageType", "")
    if not storage or storage.endswith("/none") or storage == "(null)":
        if wanted:
            yield Finding("note", f"account {wanted} is named, and this cluster has no accounting", "it is ignored")
        else:
            yield Finding("OK", "no accounting on this cluster: no account is needed")
        return
    accounts = slurm.list_accounts()
    enforced = "associations" in cluster.config.get("AccountingStorageEnforce", "")
    if wanted and accounts and wanted.lower() not in [account.lower() for account in accounts]:
        yield Finding(
            "PROBLEM",
            f"account {wanted} is not yours",
            f"`account` in {cluster.profile.site_file} is one of: {', '.join(accounts)}",
        )
    elif not accounts:
        remedy = "ask the cluster's support for an account"
        yield Finding("PROBLEM" if enforced else "note", "the accounting has no account for you", remedy)
    else:
        others = (
            f"; others: {', '.join(accounts[1:])} (`account` in {cluster.profile.site_file})"
            if len(accounts) > 1
            else ""
        )
        yield Finding("OK", f"account {wanted or accounts[0]}{others}")


def check_status_command(cluster: Cluster) -> Findings:
    """Check that Snakemake can learn how its jobs ended."""
    profile = cluster.profile
    if profile.status_command == "sacct":
        slurm.ask_accounting()
        remedy = "slurm-status-command: squeue sees it"
        yield Finding("note", "sacct answers; with it Snakemake never notices an scancel of one job", remedy)
        return
    age = cluster.config.get("MinJobAge", "").split()
    needed_s = MIN_JOB_AGE_WAITS * profile.first_wait_s
    if not age or not age[0].isdecimal():
        yield Finding("note", "the cluster does not say its MinJobAge", "if jobs seem never to end, use sacct")
    elif int(age[0]) < needed_s:
        remedy = (
            f"in {profile.path} set slurm-init-seconds-before-status-checks to {int(age[0]) // MIN_JOB_AGE_WAITS} or"
            " less, or slurm-status-command: sacct where there is accounting"
        )
        yield Finding("PROBLEM", f"MinJobAge is {age[0]} s: squeue forgets jobs before Snakemake looks", remedy)
    else:
        yield Finding(
            "OK", f"MinJobAge is {age[0]} s, at least {needed_s:.0f} s: squeue tells Snakemake how jobs ended"
        )


CLUSTER_CHECKS = (check_partitions, check_gpus, check_limits, check_account, check_status_command)
