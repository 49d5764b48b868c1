"""All that is asked of Slurm: the one module that runs its commands.

Every call has a time limit, because a controller that does not answer would hang the command that asks. Jobs are told
apart by what the executor plugin gives them (snakemake-executor-plugin-slurm 2.8): the job's name is the id of one
Snakemake run, a UUID behind an optional prefix; the comment is `rule_<rule>_wildcards_<values joined by _>`; the
working directory is the folder that Snakemake was started in.
"""

import getpass
import math
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cxrflow.errors import CxrflowError

TIMEOUT_S = 30.0
RUN_ID = re.compile(r"(?:[A-Za-z0-9_-]{1,50}_)?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
JOB_FIELDS = "%i|%T|%M|%N|%j|%k|%r|%Z"  # the folder last: it alone may contain a |
PARTITION_FIELDS = "%P|%a|%l|%c|%m|%D|%T|%G|%f"
WAITING = frozenset({"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"})
RUNNING = frozenset(
    {"RUNNING", "CONFIGURING", "COMPLETING", "STAGE_OUT", "SIGNALING", "RESIZING", "SUSPENDED", "STOPPED"}
)
FAILED = frozenset({"FAILED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL", "DEADLINE", "LAUNCH_FAILED"})
UNUSABLE = ("down", "drain", "drng", "fail", "inval", "unk")  # states of nodes; a sleeping one (idle~) wakes up


class SlurmError(CxrflowError):
    """Slurm is not installed, did not answer, or refused."""


@dataclass(frozen=True)
class SlurmJob:
    """One job of the queue, or one that ended less than MinJobAge ago."""

    job_id: str  # as scancel takes it
    state: str  # long name, such as RUNNING
    elapsed: str  # as squeue prints it, `1-02:03:04`
    nodes: str  # where it runs; empty before
    name: str  # of the job; the plugin's is the run's id
    comment: str  # rule and wildcards; empty if there is none
    reason: str  # why it waits or how it ended
    folder: str  # it was submitted in

    @property
    def is_active(self) -> bool:
        """Whether it runs or is going to."""
        return self.state in WAITING or self.state in RUNNING

    @property
    def is_from_snakemake(self) -> bool:
        """Whether Snakemake's plugin submitted it, by its name."""
        return RUN_ID.fullmatch(self.name) is not None


@dataclass(frozen=True)
class NodeGroup:
    """Nodes of one partition that are alike."""

    partition: str
    is_default: bool  # whether jobs without a partition go there
    is_up: bool  # whether it takes jobs
    max_minutes: float  # its time limit; infinity: none
    cpus: int  # of each node
    memory_mib: int  # of each node
    n_nodes: int
    state: str  # of the nodes, such as `idle` or `drained*`
    gres: str  # generic resources of each node, `gpu:a100:4(S:0-1),lscratch:500`; (null): none
    features: frozenset[str]  # that a constraint may name

    @property
    def is_usable(self) -> bool:
        """Whether its nodes take jobs, now or when they are free."""
        return not self.state.lower().startswith(UNUSABLE) and not self.state.endswith("*")


def run_slurm(*command: str, timeout_s: float = TIMEOUT_S) -> str:
    """Run one Slurm command and return what it prints.

    Raises:
        SlurmError: it is not on the PATH, did not answer in time, or failed.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False)
    except FileNotFoundError:
        raise SlurmError(
            f"there is no {command[0]} on the PATH: log in to a node of the cluster, or load its module"
            " (module load slurm)"
        ) from None
    except subprocess.TimeoutExpired:
        raise SlurmError(
            f"{command[0]} gave no answer in {timeout_s:g} s: try again when the controller is up"
        ) from None
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split()) or f"exit status {done.returncode}"
        raise SlurmError(f"{command[0]} failed: {said}")
    return done.stdout


def list_jobs(folder: Path) -> list[SlurmJob]:
    """Return this user's jobs of a folder: those in the queue and those that ended less than MinJobAge ago."""
    text = run_slurm("squeue", "--noheader", "--states=all", f"--user={os.getuid()}", f"--format={JOB_FIELDS}")
    rows = (line.split("|", 7) for line in text.splitlines())
    empty = ("(null)", "N/A", "n/a")
    jobs = [SlurmJob(*("" if cell.strip() in empty else cell.strip() for cell in row)) for row in rows if len(row) == 8]
    home = os.path.realpath(folder)  # symbolic links count as where they lead
    return [job for job in jobs if job.folder and os.path.realpath(job.folder) == home]


def list_partitions() -> list[NodeGroup]:
    """Return the partitions of the cluster, one entry for all nodes of a partition that are alike."""
    lines = run_slurm("sinfo", "--noheader", "--exact", f"--format={PARTITION_FIELDS}").splitlines()
    rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    return [
        NodeGroup(
            partition=name.rstrip("*"),
            is_default=name.endswith("*"),
            is_up=available == "up",
            max_minutes=parse_limit(limit),
            cpus=int(cpus.rstrip("+")),
            memory_mib=int(memory.rstrip("+")),
            n_nodes=int(nodes),
            state=state,
            gres=gres,
            features=frozenset(features.split(",")) - {"(null)", ""},
        )
        for name, available, limit, cpus, memory, nodes, state, gres, features in (row for row in rows if len(row) == 9)
    ]


def read_config() -> dict[str, str]:
    """Return the cluster's configuration as scontrol shows it, by key."""
    pairs = (line.split("=", 1) for line in run_slurm("scontrol", "show", "config").splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def list_accounts() -> tuple[list[str], list[str]]:
    """Return the accounts that this user may charge, and the qualities of service that go with them, each once."""
    command = ("sacctmgr", "--noheader", "--parsable2", "show", "assoc", f"user={getpass.getuser()}")
    rows = [line.split("|") for line in run_slurm(*command, "format=Account,QOS").splitlines() if "|" in line]
    return sorted({account for account, _ in rows}), sorted({name for _, qos in rows for name in qos.split(",")})


def find_default_account() -> str:
    """Return the account that is charged for this user's jobs where they name none; empty: there is none."""
    command = ("sacctmgr", "--noheader", "--parsable2", "show", "user", getpass.getuser(), "format=DefaultAccount")
    return run_slurm(*command).strip()


def parse_limit(text: str) -> float:
    """Return a time limit as sinfo prints it, `[[days-]hours:]minutes:seconds` or `infinite`, in minutes."""
    if text in ("infinite", "n/a"):
        return math.inf
    days, _, clock = text.rpartition("-")
    parts = zip(reversed(clock.split(":")), (1 / 60, 1, 60), strict=False)
    return int(days or 0) * 1440 + sum(int(number) * minutes for number, minutes in parts)


def parse_gres(text: str) -> dict[str, int]:
    """Return {kind or kind:model: number} of generic resources, `gpu:a100:4(S:0-1),lscratch:500G`; not said is 1."""
    found: dict[str, int] = {}
    for entry in re.sub(r"\([^)]*\)", "", text).split(","):
        if match := re.fullmatch(r"(.+?)(?::(\d+)[KMGT]?)?", entry.strip()):
            found[match[1]] = found.get(match[1], 0) + int(match[2] or 1)
    return found


def parse_gpus(gres: str) -> dict[str, int]:
    """Return {model: number} of the GPUs among generic resources; a model without a name is empty."""
    kinds = ((*name.partition(":"), count) for name, count in parse_gres(gres).items())
    return {model: count for kind, _, model, count in kinds if kind == "gpu"}
