"""Whether a Slurm cluster and this folder are ready for a study, one line per finding, before any job is submitted.

What the jobs ask for is known from Snakemake's dry run. To add a check, write a function of a `Cluster` and add it to
CLUSTER_CHECKS, or call it in `check_folder`.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrflow.config.study import Study
from cxrflow.errors import CxrflowError
from cxrflow.operate import slurm
from cxrflow.operate.jobs import Job, Profile
from cxrflow.operate.slurm import NodeGroup

MIN_JOB_AGE_WAITS = 3  # MinJobAge is at least this many first waits, or squeue forgets jobs before they are seen
IMPORT_TIMEOUT_S = 180.0  # torch from a busy network file system
SHARED = re.compile(
    r"(fuse\.)?(nfs4?|lustre|gpfs|mmfs|beegfs|fhgfs|ceph(-fuse)?|glusterfs|panfs|pvfs2|orangefs|afs|cifs|smb3|wekafs|"
    r"quobyte\S*|vastfs|juicefs\S*|gfs2|ocfs2|sshfs|moosefs|mfs|lizardfs|saunafs|9p|virtiofs)(_\w+)?"
)
SETUP = "make setup, then source .venv/bin/activate"
# Run by the Python that jobs will use; prints one line of JSON.
PROBE = """
import importlib.util, json, sys
said = {"version": ".".join(map(str, sys.version_info[:3])), "is_old": sys.version_info < (3, 11)}
said |= {"base": sys.base_prefix, "plugin": importlib.util.find_spec("snakemake_executor_plugin_slurm") is not None}
try:
    import torch, torchvision
    said |= {"torch": torch.__version__, "cuda": torch.version.cuda or ""}
except Exception as error:
    said["error"] = f"{type(error).__name__}: {error}"
print(json.dumps(said))
"""
# Key of the site file, what a job asks with, unit, what the cluster has.
LIMITS: tuple[tuple[str, Callable[[Job], float], str, Callable[[NodeGroup], float]], ...] = (
    ("max_runtime", lambda job: job.ask("runtime"), "minutes", lambda group: group.max_minutes),
    ("max_threads", lambda job: job.threads, "CPUs of a node", lambda group: group.cpus),
    ("max_mem_mb", lambda job: job.ask("mem_mb"), "MB of a node", lambda group: group.memory_mib),
)


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


@dataclass(frozen=True)
class Cluster:
    """What Slurm says of itself, and what the profile and the study's jobs want of it."""

    profile: Profile
    jobs: Sequence[Job]
    groups: Sequence[NodeGroup]
    config: Mapping[str, str]

    def of(self, partition: str) -> list[NodeGroup]:
        """Return the nodes of a partition."""
        return [group for group in self.groups if group.partition == partition]


def check_cluster(profile: Profile, jobs: Sequence[Job]) -> tuple[list[Finding], int | None]:
    """Return what is found about Slurm, and the nodes of its largest partition, None where Slurm does not say."""
    absent = [name for name in ("sbatch", "squeue", "sinfo", "scontrol", "scancel") if not slurm.has_command(name)]
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
    """Check that the partitions exist and take jobs."""
    known = sorted({group.partition for group in cluster.groups})
    for name in cluster.profile.partitions:
        groups = cluster.of(name)
        if not groups:
            remedy = f"rename it in {cluster.profile.site_file} to one of: {', '.join(known)}"
            yield Finding("PROBLEM", f"partition {name} is not on this cluster", remedy)
        elif not any(group.is_up for group in groups):
            yield Finding("PROBLEM", f"partition {name} is down", "choose another one, or ask the cluster's support")
        elif not any(group.is_usable for group in groups):
            states = ", ".join(sorted({group.state for group in groups}))
            yield Finding("PROBLEM", f"partition {name}: no node takes jobs ({states})", "jobs would wait for ever")
        else:
            yield Finding("OK", f"partition {name} takes jobs")
    if not cluster.profile.partitions and not any(group.is_default for group in cluster.groups):
        remedy = f"name partitions in a file and give it as slurm-partition-config in {cluster.profile.path}"
        yield Finding("PROBLEM", "the profile names no partition and the cluster has no default one", remedy)


def check_gpus(cluster: Cluster) -> Findings:
    """Check that jobs that want a GPU find a partition with GPUs, and list the models."""
    site_file = cluster.profile.site_file or cluster.profile.path
    asking = list(dict.fromkeys(job.rule for job in cluster.jobs if job.gpus))
    names = cluster.profile.partitions_for(needs_gpu=True) if asking else []
    if asking and cluster.profile.partitions and not names:
        remedy = f"give the partition with GPUs a `max_gpu:` in {site_file}"
        yield Finding("PROBLEM", f"{', '.join(asking)} ask for a GPU and no partition has any", remedy)
    for name in names:
        most: dict[str, int] = {}
        for group in cluster.of(name):
            most |= {model: max(most.get(model, 0), count) for model, count in group.gpus.items()}
        if most:
            said = ", ".join(f"{model or 'gpu'} (up to {count} on a node)" for model, count in sorted(most.items()))
            models = sorted(filter(None, most))
            hint = f"; to choose a model: `gpu_model: {models[0]}` beside `gpu: 1` in {site_file}" if models else ""
            yield Finding("OK", f"partition {name} has GPUs: {said}{hint}")
        elif cluster.of(name):
            having = sorted({group.partition for group in cluster.groups if group.gpus})
            remedy = f"partitions with GPUs: {', '.join(having)}" if having else f"leave `gpu` out of {site_file}"
            yield Finding("PROBLEM", f"partition {name} has no GPU (gres), and GPU jobs go there", remedy)


def check_limits(cluster: Cluster) -> Findings:
    """Compare what the site file allows and what the jobs ask for with what the cluster has."""
    for name, limits in cluster.profile.partitions.items():
        groups = [group for group in cluster.of(name) if group.is_up]
        jobs = [job for job in cluster.jobs if name in cluster.profile.partitions_for(needs_gpu=job.gpus > 0)]
        findings = []
        for key, asked, unit, read in LIMITS if groups else ():
            real, allowed = max(map(read, groups)), limits.get(key, 0)
            too_much = ", ".join(dict.fromkeys(job.rule for job in jobs if asked(job) > real))
            cap = f"set {key}: {real:.0f} in {cluster.profile.site_file}"
            if too_much:  # refused at once
                text = f"partition {name} has {real:.0f} {unit}, less than {too_much} ask for"
                remedy = f"ask for less in set-resources or set-threads of {cluster.profile.path}, and {cap}"
                findings.append(Finding("PROBLEM", text, remedy))
            elif allowed > real:
                text = f"{cluster.profile.site_file} allows {allowed:.0f} {unit} in {name}, which has {real:.0f}"
                findings.append(Finding("note", text, f"a retry that asks for more would be refused: {cap}"))
        if groups:
            yield from findings or [Finding("OK", f"partition {name}: its limits and the jobs' requests fit")]


def check_account(cluster: Cluster) -> Findings:
    """Check the account that is charged, where there is accounting."""
    wanted = next((str(job.resources["slurm_account"]) for job in cluster.jobs if "slurm_account" in job.resources), "")
    site_file = cluster.profile.site_file
    storage = cluster.config.get("AccountingStorageType", "")
    if not storage or storage.endswith("/none") or storage == "(null)":
        yield Finding("OK", "no accounting on this cluster: an account is neither needed nor charged")
        return
    accounts = slurm.list_accounts()
    if not accounts:
        level = "PROBLEM" if "associations" in cluster.config.get("AccountingStorageEnforce", "") else "note"
        yield Finding(level, "the accounting has no account for you", "ask the cluster's support for an account")
    elif wanted and wanted.lower() not in [account.lower() for account in accounts]:
        remedy = f"`account` in {site_file} is one of: {', '.join(accounts)}"
        yield Finding("PROBLEM", f"account {wanted} is not yours", remedy)
    else:
        yield Finding("OK", f"account {wanted or 'by default'}; yours: {', '.join(accounts)}")


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


CLUSTER_CHECKS = (check_partitions, check_gpus, check_limits, check_account, check_status_command)


def check_folder(study: Study, jobs: Sequence[Job], n_nodes: int | None) -> list[Finding]:
    """Return what is found about the working folder, the Python and the study's files, for all of its jobs."""
    folder = Path.cwd()
    named = {
        "the data": study.data_root,
        "the results": str(study.layout.root),
        "the weights": study.settings.weights_root,
    }
    places = {what: folder / path for what, path in named.items() if (folder / path).exists()}
    return [
        *check_places({"the working folder": folder, **places}, n_nodes),
        *check_python(n_nodes, wants_gpu=any(job.gpus for job in jobs)),
        *check_weights(study, [Path(path) for job in jobs if job.rule == "fetch_weights" for path in job.outputs]),
        *(Finding("note", f"data: {line}") for line in study.missing_data()),
    ]


def check_places(places: dict[str, Path], n_nodes: int | None) -> Findings:
    """Check that folders lie on file systems that the cluster's nodes share; each file system is named once."""
    by_mount: dict[tuple[str, str], list[str]] = {}
    for what, path in places.items():
        by_mount.setdefault(find_mount(path), []).append(what)
    for (point, kind), names in by_mount.items():
        text = f"{' and '.join(names)}: on {point} ({kind})"
        if SHARED.fullmatch(kind):
            yield Finding("OK", text)
        elif n_nodes == 1:
            yield Finding("OK", f"{text}, a local file system, which is enough for one node")
        else:
            remedy = f"the jobs' nodes may not see it: try srun ls '{places[names[0]]}'; else work on the shared one"
            yield Finding("note", f"{text}, not a kind that machines share", remedy)


def find_mount(path: Path) -> tuple[str, str]:
    """Return the mount point and the kind of the file system of a path; `?` where this system does not say."""
    command = ["df", "--output=target,fstype", str(path)]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, timeout=IMPORT_TIMEOUT_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return "?", "?"
    point, _, kind = lines.splitlines()[-1].strip().rpartition(" ")
    return point.strip(), kind


def check_python(n_nodes: int | None, *, wants_gpu: bool) -> Findings:
    """Check the Python next to the `snakemake` of the PATH: all jobs run with it."""
    snakemake = shutil.which("snakemake")
    if snakemake is None:
        yield Finding("PROBLEM", "no snakemake on the PATH", SETUP)
        return
    python = Path(snakemake).parent / "python"
    if any(character.isspace() for character in str(python)):
        text = f"{python} has a space in its path, and Snakemake's Slurm plugin starts jobs with it unquoted"
        yield Finding("PROBLEM", text, "move the environment, or make a link without a space and use its bin/activate")
    command = [str(python), "-W", "ignore", "-c", PROBE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=IMPORT_TIMEOUT_S, check=False)
        said = dict(json.loads(done.stdout.splitlines()[-1]))
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError) as error:
        yield Finding("PROBLEM", f"{python} does not run ({error})", SETUP)
        return
    yield from judge_python(python, said, wants_gpu=wants_gpu)
    yield from check_places({f"{python}": python.parent, "its base Python": Path(said["base"])}, n_nodes)


def judge_python(python: Path, said: dict[str, Any], *, wants_gpu: bool) -> Findings:
    """Say what a Python lacks."""
    if said["is_old"]:
        yield Finding("PROBLEM", f"{python} is Python {said['version']}, and 3.11 is the oldest", SETUP)
    if not said["plugin"]:
        yield Finding("PROBLEM", f"{python} has no snakemake-executor-plugin-slurm", SETUP)
    if "error" in said:
        yield Finding("PROBLEM", f"{python} cannot import torch and torchvision: {said['error']}", SETUP)
    elif wants_gpu and not said["cuda"]:
        text = f"torch {said['torch']} has no CUDA, and jobs ask for GPUs"
        yield Finding("PROBLEM", text, "install a torch that is built with CUDA (or ROCm, and then ignore this line)")
    else:
        cuda = f", CUDA {said['cuda']}" if said["cuda"] else ", CPU only"
        yield Finding("OK", f"{python}: Python {said['version']}, torch {said['torch']}{cuda}")


def check_weights(study: Study, files: Sequence[Path]) -> Findings:
    """Check that the files of ImageNet weights exist that models start from."""
    absent = [path for path in files if not path.is_file()]
    if absent:
        remedy = (
            f"Snakemake fetches them from here at the start, over the internet; without it, copy them into"
            f" {absent[0].parent}/ from {study.settings.weights_url}/"
        )
        text = f"ImageNet weights that are still missing: {', '.join(path.name for path in absent)}"
        yield Finding("note", text, remedy)
    elif files:
        yield Finding("OK", f"ImageNet weights are in {files[0].parent}")
