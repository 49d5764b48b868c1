"""Whether a Slurm cluster and this folder are ready for a study, one line per finding, before any job is submitted.

What the jobs ask for is known from Snakemake's dry run, and where they go from the Slurm plugin. To add a check, write
a function of a `Cluster` and add it to CLUSTER_CHECKS. What the folder lacks is found in `folder_checks`.
"""

import re
import shlex
import shutil
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

from cxrflow.errors import CxrflowError
from cxrflow.operate import slurm
from cxrflow.operate.jobs import LIMITS, Job, Profile
from cxrflow.operate.slurm import NodeGroup

MIN_JOB_AGE_WAITS = 3  # MinJobAge is at least this many first waits, or squeue forgets jobs before they are seen
FEATURE = re.compile(r"(?<!\*)\b[^\s&|,*()\[\]]+")  # in a constraint: `[rack1*2&rack2*4]`, `a100|h100`
# Limits of the site file (jobs.LIMITS): unit, and what the cluster has.
REAL: dict[str, tuple[str, Callable[[NodeGroup], float]]] = {
    "max_runtime": ("minutes", lambda group: group.max_minutes),
    "max_threads": ("CPUs of a node", lambda group: group.cpus),
    "max_mem_mb": ("MB of a node", lambda group: group.memory_mib),
    "max_gpu": ("GPUs of a node", lambda group: sum(slurm.parse_gpus(group.gres).values())),
}


@dataclass(frozen=True)
class Finding:
    """One line for the user: level OK, note or PROBLEM, what was found, and what to do, if anything."""

    level: str
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        """Return the line."""
        return f"{self.level:<8} {self.text}" + (f" -> {self.remedy}" if self.remedy else "")


Findings = Iterator[Finding]


class Cluster:
    """What Slurm says of itself, and what the profile and the study's jobs want of it.

    Attributes:
        placed: the jobs by the partition that they are submitted to; empty: the cluster has no default one.
        unplaced: why other jobs go nowhere.
    """

    def __init__(
        self, profile: Profile, jobs: Sequence[Job], groups: Sequence[NodeGroup], config: Mapping[str, str]
    ) -> None:
        """Find out where every job would go."""
        self.profile, self.jobs, self.groups, self.config = profile, jobs, groups, config
        self.placed: dict[str, list[Job]] = defaultdict(list)
        self.unplaced: dict[str, None] = {}
        default = next((group.partition for group in groups if group.is_default), "")
        for job in self.jobs:
            try:
                self.placed[profile.partition_of(job) or default].append(job)
            except CxrflowError as error:
                self.unplaced[str(error)] = None

    def of(self, partition: str) -> list[NodeGroup]:
        """Return the nodes of a partition."""
        return [group for group in self.groups if group.partition == partition]


def check_cluster(profile: Profile, jobs: Sequence[Job]) -> tuple[list[Finding], int | None]:
    """Return what is found about Slurm, and the nodes of its largest partition, None where Slurm does not say."""
    absent = [name for name in ("sbatch", "squeue", "sinfo", "scontrol", "scancel") if not shutil.which(name)]
    if absent:
        remedy = "run this on a login node of the cluster, or load Slurm's module (module load slurm)"
        text = f"no {', '.join(absent)} on the PATH: nothing can be submitted from here"
        return [Finding("PROBLEM", text, remedy)], None
    try:
        ping = " ".join(slurm.run_slurm("scontrol", "ping", timeout_s=15.0).split())
        cluster = Cluster(profile, jobs, slurm.list_partitions(), slurm.read_config())
    except CxrflowError as error:
        return [Finding("PROBLEM", str(error), "without its answer no job starts: ask the cluster's support")], None
    if " UP" not in ping:
        return [Finding("PROBLEM", f"no controller is up: {ping}", "ask the cluster's support")], None
    findings = [Finding("OK", ping)]
    for check in CLUSTER_CHECKS:
        try:
            findings += check(cluster)
        except CxrflowError as error:  # not the end of the other checks
            findings.append(Finding("PROBLEM", str(error)))
    names = {group.partition for group in cluster.groups}
    return findings, max((sum(group.n_nodes for group in cluster.of(name)) for name in names), default=None)


def check_partitions(cluster: Cluster) -> Findings:
    """Check that every job has a partition, and that the partitions exist and take jobs."""
    site_file = cluster.profile.site_file
    for why in cluster.unplaced:
        remedy = f"ask for less in {cluster.profile.path} or the study's compute, or correct the limits in {site_file}"
        yield Finding("PROBLEM", why, remedy)
    known = ", ".join(sorted({group.partition for group in cluster.groups}))
    for name in dict.fromkeys([*(each.name for each in cluster.profile.partitions), *cluster.placed]):
        groups = cluster.of(name)
        if not name:
            remedy = f"name partitions in a file and give it as slurm-partition-config in {cluster.profile.path}"
            yield Finding("PROBLEM", "the profile names no partition and the cluster has no default one", remedy)
        elif not groups:
            remedy = f"rename it in {site_file} to one of: {known}"
            yield Finding("PROBLEM", f"partition {name} is not on this cluster", remedy)
        elif not any(group.is_up for group in groups):
            yield Finding("PROBLEM", f"partition {name} is down", "choose another one, or ask the cluster's support")
        elif not any(group.is_usable for group in groups):
            states = ", ".join(sorted({group.state for group in groups}))
            yield Finding("PROBLEM", f"partition {name}: no node takes jobs ({states})", "jobs would wait for ever")
        else:
            rules = name_rules(cluster.placed.get(name, ())) or "no job of this study"
            yield Finding("OK", f"partition {name} takes {rules}")


def name_rules(jobs: Sequence[Job]) -> str:
    """Return the rules of jobs, each once."""
    return ", ".join(dict.fromkeys(job.rule for job in jobs))


def check_names(cluster: Cluster) -> Findings:
    """Compare the generic resources, GPU models and features that jobs ask for with those of their partition."""
    for partition, jobs in cluster.placed.items():
        groups = cluster.of(partition)
        gres = {name for group in groups for name in slurm.parse_gres(group.gres) if name != "(null)"}
        yield from find_unknown(jobs, "gres", partition, gres | {name.split(":")[0] for name in gres})
        yield from find_unknown(jobs, "constraint", partition, {each for group in groups for each in group.features})
        models = sorted(name.removeprefix("gpu:") for name in gres if name.startswith("gpu:"))
        if models and any(job.gpus for job in jobs):
            hint = f"`gpu_model: {models[0]}` beside `gpu: 1` in {cluster.profile.site_file}"
            yield Finding("OK", f"partition {partition} has GPUs: {', '.join(models)}; to choose a model: {hint}")


def find_unknown(jobs: Sequence[Job], key: str, where: str, known: Collection[str]) -> Findings:
    """Find the names that jobs ask for with a resource and that are not known there."""
    asking: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        for name in list_names(job, key):
            asking[name].append(job)
    for name in asking:
        if name not in known:
            remedy = f"there is: {', '.join(sorted(known)) or 'none'}"
            yield Finding("PROBLEM", f"{where}: no {key} {name}, and {name_rules(asking[name])} ask for it", remedy)


def list_names(job: Job, key: str) -> list[str]:
    """Return what a job asks for with a resource, each name as the cluster lists it: `gpu:a100`, without a number."""
    value = str(job.resources.get(key, ""))
    if key == "constraint":
        return FEATURE.findall(value)
    if key != "gres":
        return [value.lower()] if value else []  # accounting keeps small letters
    model = job.resources.get("gpu_model")
    return [*slurm.parse_gres(value), *(["gpu"] if job.ask("gpu") else []), *([f"gpu:{model}"] if model else [])]


def check_limits(cluster: Cluster) -> Findings:
    """Compare what the site file allows and what the jobs ask for with what the cluster has."""
    allowed_in = {each.name: each.limits for each in cluster.profile.partitions}
    for name in dict.fromkeys([*allowed_in, *cluster.placed]):
        groups = [group for group in cluster.of(name) if group.is_up]
        for key, (unit, read) in REAL.items() if groups else ():
            real, allowed = max(map(read, groups)), getattr(allowed_in.get(name), key, 0)
            too_much = name_rules([job for job in cluster.placed.get(name, ()) if LIMITS[key](job) > real])
            cap = f"set {key}: {real:.0f} in {cluster.profile.site_file}"
            if too_much:  # refused at once, or left waiting for ever
                text = f"partition {name} has {real:.0f} {unit}, less than {too_much} ask for"
                remedy = f"ask for less in set-resources or set-threads of {cluster.profile.path}, and {cap}"
                yield Finding("PROBLEM", text, remedy)
            elif real < allowed < float("inf"):
                text = f"{cluster.profile.site_file} allows {allowed:.0f} {unit} in {name}, which has {real:.0f}"
                yield Finding("note", text, f"a job that asks for more would be refused: {cap}")


def check_account(cluster: Cluster) -> Findings:
    """Check the account that is charged and the quality of service, where there is accounting."""
    storage = cluster.config.get("AccountingStorageType", "")
    if not storage or storage.endswith("/none") or storage == "(null)":
        yield Finding("OK", "no accounting on this cluster: an account is neither needed nor charged")
        return
    accounts, qos = slurm.list_accounts()
    if accounts:
        yield from find_unknown(cluster.jobs, "slurm_account", "your accounts", accounts)
        yield from find_unknown(cluster.jobs, "qos", "your accounts", qos)
        wanted = dict.fromkeys(name for job in cluster.jobs for name in list_names(job, "slurm_account"))
        charged = ", ".join(wanted) or "by default"
        yield Finding("OK", f"account {charged}; yours: {', '.join(accounts)}; your qos: {', '.join(qos)}")
    else:
        level = "PROBLEM" if "associations" in cluster.config.get("AccountingStorageEnforce", "") else "note"
        yield Finding(level, "the accounting has no account for you", "ask the cluster's support for an account")


def check_requests(cluster: Cluster) -> Findings:
    """Let Slurm judge every request as a whole: the plugin's own sbatch commands, with --test-only."""
    requests: dict[str, list[Job]] = defaultdict(list)
    for partition, jobs in cluster.placed.items():
        for job in jobs:
            requests[build_command(job, partition)].append(job)
    refused = False
    for command, jobs in requests.items():
        try:
            try_command(command)
        except CxrflowError as error:
            refused = True
            yield Finding(
                "PROBLEM", f"{name_rules(jobs)}: {error}", f"asked for was {command.partition('--comment test')[2]}"
            )
    if not refused:
        yield Finding("OK", f"sbatch --test-only takes every request: {len(requests)}")


def try_command(command: str) -> None:
    """Ask Slurm whether it would take a job, by the command that submits it.

    Raises:
        CxrflowError: it would not.
    """
    slurm.run_slurm(*shlex.split(command), "--test-only", "--wrap", "true")


def build_command(job: Job, partition: str) -> str:
    """Return the command that the Slurm plugin submits a job with, without what the job runs.

    Raises:
        CxrflowError: the plugin refuses the request.
    """
    from snakemake_executor_plugin_slurm.submit_string import get_submit_command
    from snakemake_executor_plugin_slurm.utils import set_gres_string

    account = job.resources.get("slurm_account")
    params = {
        "run_uuid": "test",
        "slurm_logfile": "/dev/null",
        "comment_str": "test",
        "account": f"-A {shlex.quote(str(account))}" if account else "",
        "partition": f"-p {shlex.quote(partition)}" if partition else "",
        "workdir": None,
    }
    asking = SimpleNamespace(threads=job.threads, resources=Asked(job.resources))
    try:
        return str(get_submit_command(asking, params)) + str(set_gres_string(asking))
    except Exception as error:  # a WorkflowError: a form of a resource that the plugin does not take
        raise CxrflowError(f"{job.rule} would not be submitted: {error}") from None


class Asked(dict[str, int | str]):
    """A job's resources as attributes too, as Snakemake gives them to the plugin."""

    __getattr__ = dict.__getitem__


def check_status_command(cluster: Cluster) -> Findings:
    """Check that Snakemake can learn how its jobs ended."""
    profile = cluster.profile
    if profile.status_command == "sacct":
        slurm.run_slurm("sacct", "--allocations", "--noheader", "--format=JobIDRaw")
        yield Finding(
            "note", "with sacct Snakemake never notices an scancel of one job", "slurm-status-command: squeue"
        )
        return
    age = cluster.config.get("MinJobAge", "").split()
    needed_s = MIN_JOB_AGE_WAITS * profile.first_wait_s
    if not age or not age[0].isdecimal():
        return
    if int(age[0]) < needed_s:
        remedy = (
            f"in {profile.path} set slurm-init-seconds-before-status-checks to {int(age[0]) // MIN_JOB_AGE_WAITS} or"
            " less, or slurm-status-command: sacct where there is accounting"
        )
        yield Finding("PROBLEM", f"MinJobAge is {age[0]} s: squeue forgets jobs before Snakemake looks", remedy)
    else:
        yield Finding("OK", f"MinJobAge is {age[0]} s, at least {needed_s:.0f} s: squeue says how jobs ended")


CLUSTER_CHECKS = (check_partitions, check_names, check_limits, check_account, check_status_command, check_requests)
