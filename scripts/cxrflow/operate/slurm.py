"""All that is asked of Slurm: the one module that runs squeue, sinfo, scontrol, sacct, sacctmgr and scancel.

Every call has a time limit, because a controller that does not answer would hang the command that asks. Jobs are told
apart by what the executor plugin gives them (snakemake-executor-plugin-slurm 2.8): the job's name is the id of one
Snakemake run, a UUID behind an optional prefix; the comment is `rule_<rule>_wildcards_<values joined by _>`; the
working directory is the folder that Snakemake was started in.
"""

import getpass
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrflow.errors import CxrflowError
from cxrflow.operate.slurm_forms import parse_gpus, parse_minutes

TIMEOUT_S = 30.0
RUN_ID = re.compile(r"(?:[A-Za-z0-9_-]{1,50}_)?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
JOB_FIELDS = "%i|%T|%M|%N|%j|%k|%r|%Z"  # the folder last: it alone may contain a |
PARTITION_FIELDS = "%P|%a|%l|%c|%m|%D|%T|%G"
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

    def is_in(self, folder: Path) -> bool:
        """Whether it was submitted in a folder; symbolic links count as where they lead."""
        return bool(self.folder) and os.path.realpath(self.folder) == os.path.realpath(folder)


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
    gpus: dict[str, int]  # {model: number per node}; the model is empty where the site names none

    @property
    def is_usable(self) -> bool:
        """Whether its nodes take jobs, now or when they are free."""
        return not self.state.lower().startswith(UNUSABLE) and not self.state.endswith("*")


def has_command(name: str) -> bool:
    """Return whether a Slurm command is on the PATH."""
    return shutil.which(name) is not None


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
    return [job for job in parse_queue(text) if job.is_in(folder)]


def parse_queue(text: str) -> list[SlurmJob]:
    """Read squeue's lines in the form of JOB_FIELDS."""
    rows = [line.split("|", 7) for line in text.splitlines()]
    return [SlurmJob(*(_or_empty(cell.strip()) for cell in row)) for row in rows if len(row) == 8]


def _or_empty(cell: str) -> str:
    return "" if cell in ("(null)", "N/A", "n/a") else cell


def cancel_jobs(job_ids: Sequence[str]) -> None:
    """Cancel jobs by their ids; those that have just ended are not an error to scancel."""
    if job_ids:
        run_slurm("scancel", *job_ids)


def list_partitions() -> list[NodeGroup]:
    """Return the partitions of the cluster, one entry for all nodes of a partition that are alike."""
    return parse_partitions(run_slurm("sinfo", "--noheader", "--exact", f"--format={PARTITION_FIELDS}"))


def parse_partitions(text: str) -> list[NodeGroup]:
    """Read sinfo's lines in the form of PARTITION_FIELDS."""
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines()]
    return [
        NodeGroup(
            partition=name.rstrip("*"),
            is_default=name.endswith("*"),
            is_up=available == "up",
            max_minutes=parse_minutes(limit),
            cpus=int(cpus.rstrip("+")),
            memory_mib=int(memory.rstrip("+")),
            n_nodes=int(nodes),
            state=state,
            gpus=parse_gpus(gres),
        )
        for name, available, limit, cpus, memory, nodes, state, gres in (row for row in rows if len(row) == 8)
    ]


def read_config() -> dict[str, str]:
    """Return the cluster's configuration as scontrol shows it, by key."""
    pairs = (line.split("=", 1) for line in run_slurm("scontrol", "show", "config").splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def list_accounts() -> list[str]:
    """Return the accounts that this user may charge."""
    command = ("sacctmgr", "--noheader", "--parsable2", "show", "assoc", f"user={getpass.getuser()}", "format=Account")
    return list(dict.fromkeys(run_slurm(*command).split()))
