"""All that is asked of Slurm: the one module that runs squeue, sinfo, scontrol, sacct, sacctmgr and scancel.

Every call has a time limit, because a controller that does not answer would hang the command that asks. Jobs are told
apart by what the executor plugin gives them (snakemake-executor-plugin-slurm 2.8): the job's name is the id of one
Snakemake run, a UUID behind an optional prefix; the comment is `rule_<rule>_wildcards_<values joined by _>`; the
working directory is the folder that Snakemake was started in. `parse_minutes` and `parse_gpus` also read profiles.
"""

import getpass
import math
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrflow.errors import CxrflowError

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
UNLIMITED = ("unlimited", "infinite", "n/a")  # as squeue, sinfo and sbatch write it
# Words as Snakemake reads them in `runtime: 12h` (the package humanfriendly); its Slurm plugin knows d, h, m and s.
UNITS_MINUTES = {
    word: minutes
    for words, minutes in (
        ("s sec secs second seconds", 1 / 60),
        ("m min mins minute minutes", 1.0),
        ("h hour hours", 60.0),
        ("d day days", 1440.0),
        ("w week weeks", 10080.0),
    )
    for word in words.split()
}
NUMBER_AND_UNIT = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*")
CLOCK = re.compile(r"(?:(?P<days>\d+)-)?(?P<parts>\d+(?::\d+){0,2})")


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


def parse_minutes(text: str) -> float:
    """Return a time in minutes; infinity where it is unlimited.

    Slurm's forms: `minutes`, `minutes:seconds`, `hours:minutes:seconds`, `days-hours`, `days-hours:minutes`,
    `days-hours:minutes:seconds`, `UNLIMITED`. Snakemake's: `90.5` (minutes), `12h`, `1d12h`, `90 min`.
    Source: sbatch(1), --time.

    Raises:
        CxrflowError: it is not a time.
    """
    said = text.strip().lower()
    if said in UNLIMITED:
        return math.inf
    if match := CLOCK.fullmatch(said):
        return _read_clock(match["days"], match["parts"].split(":"))
    if re.fullmatch(r"\d+\.\d+", said):
        return float(said)
    pairs = NUMBER_AND_UNIT.findall(said)
    if not pairs or NUMBER_AND_UNIT.sub("", said) or any(unit not in UNITS_MINUTES for _, unit in pairs):
        raise CxrflowError(f"{text!r} is not a time: expected minutes, days-hours:minutes:seconds, or for example 12h")
    return sum(float(number) * UNITS_MINUTES[unit] for number, unit in pairs)


def _read_clock(days: str | None, parts: list[str]) -> float:
    """Return minutes: behind days the first number is hours; without, one or two numbers begin with minutes."""
    from_minutes = days is None and len(parts) < 3
    hours, minutes, seconds = [*map(int, ["0"] * from_minutes + parts), 0, 0][:3]
    return int(days or 0) * 1440 + hours * 60 + minutes + seconds / 60


def parse_gpus(gres: str) -> dict[str, int]:
    """Return {model: number} from what a node has or a job asks for: `gpu:a100:4(S:0-1),gpu:2`, `gpu:a100`, `gpu`.

    A model without a name is empty; a number that is not said is 1; other things than GPUs are left out.
    """
    gpus: dict[str, int] = {}
    for entry in re.sub(r"\([^)]*\)", "", gres).split(","):
        name, *rest = entry.strip().split(":")
        count = int(rest.pop()) if rest and rest[-1].isdecimal() else 1
        if name == "gpu":
            model = "".join(rest)
            gpus[model] = gpus.get(model, 0) + count
    return gpus
