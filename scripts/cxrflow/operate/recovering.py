"""What a killed Snakemake leaves behind: a lock, and jobs that run on without it, on a cluster or on this machine.

A new Snakemake does not take those jobs over, unless it is the next head of a chain (profiles/slurm/head.sbatch): it
would start a second copy next to each, which then waits for the first one's lease. So they should end before it
starts. Whether a Snakemake still works in a folder is seen in /proc for this machine only; on which machine the last
one was started, its own log says (.snakemake/log/).
"""

import contextlib
import datetime
import os
import platform
import re
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from cxrflow.errors import CxrflowError
from cxrflow.operate.slurm import SlurmError, SlurmJob, list_jobs, run_slurm

PROC = Path("/proc")
# What Snakemake adds to the command of a job (spawn_jobs.py of Snakemake 9): such a process obeys another one.
OF_A_JOB = frozenset({"--nolock", "--target-jobs"})
# Asks or unlocks only: it takes no lock and starts no job.
HARMLESS = frozenset({"-n", "--dry-run", "--dryrun", "--unlock", "--summary", "--detailed-summary", "--lint", "--dag"})
# In scripts/, typed by a user, and not the command of a rule: these neither count as left behind nor are cancelled.
COMMANDS = frozenset(
    {"plan", "status", "recover", "slurm_check", "slurm_site", "predict", "serve", "verify", "document_settings"}
)
LOGS = Path(".snakemake/log")
AGAIN = "To start this run again"  # the Snakefile writes it, with quotes; `Command` of Snakemake's header has none
SUBMITTED = "SLURM run ID:"  # the Slurm plugin writes it into Snakemake's log at its start
HEADER_BYTES = 200_000  # of a log, in which its header and AGAIN are
POLL_S = 15.0


@dataclass(frozen=True)
class Process:
    """One process: its number and the words of its command."""

    pid: int
    words: tuple[str, ...]

    @property
    def is_head(self) -> bool:
        """Whether it is a Snakemake that a person started to make something."""
        named = any(Path(word).name in ("snakemake", "snakemake.py") for word in self.words[:2])
        as_module = self.words[1:3] == ("-m", "snakemake")
        return (named or as_module) and not (OF_A_JOB | HARMLESS) & set(self.words)

    @property
    def is_worker(self) -> bool:
        """Whether it runs the command of a rule: `python scripts/train.py ...`."""
        scripts = (re.fullmatch(r"(?:.*/)?scripts/(\w+)\.py", word) for word in self.words[:3])
        return any(match[1] not in COMMANDS for match in scripts if match) and "python" in Path(self.words[0]).name


def list_processes(folder: Path) -> list[Process]:
    """Return the processes that work in a folder, as far as this user may look; none where there is no /proc."""
    home = folder.resolve()
    found = (_read_process(entry, home) for entry in PROC.glob("[0-9]*"))
    return sorted((each for each in found if each is not None), key=lambda each: each.pid)


def _read_process(entry: Path, home: Path) -> Process | None:
    """Read one process; None: it works elsewhere, is another user's, or has just ended."""
    try:
        if (entry / "cwd").readlink() != home:
            return None
        words = (entry / "cmdline").read_bytes().split(b"\0")[:-1]
    except OSError:
        return None
    return Process(int(entry.name), tuple(word.decode("utf-8", "replace") for word in words)) if words else None


@dataclass(frozen=True)
class LastRun:
    """The last Snakemake that worked in a folder, by its logs."""

    log: Path  # the newest
    host: str  # where it was started; empty: the log does not say
    command: str  # of the newest log that has one (that of `--unlock` has none)
    configs: Sequence[Path]  # that the runs read, of the newest log and of a run the last first


@dataclass(frozen=True)
class Leftovers:
    """What there is in a folder."""

    heads: Sequence[Process]  # Snakemakes of this machine that work in it
    workers: Sequence[Process]  # processes of this machine that make its files
    orphans: Sequence[SlurmJob]  # Slurm jobs that a Snakemake of this folder submitted and that have not ended
    last: LastRun | None  # the last run; None: there was none
    is_locked: bool  # whether Snakemake's lock is there

    @property
    def n_running(self) -> int:
        """How many jobs have not ended."""
        return len(self.orphans) + len(self.workers)


def find_leftovers(folder: Path) -> Leftovers:
    """Look for what a Snakemake of a folder has left.

    Raises:
        SlurmError: the queue does not answer, so orphans could not be seen.
    """
    processes = list_processes(folder)
    return Leftovers(
        heads=[process for process in processes if process.is_head],
        workers=[process for process in processes if process.is_worker],
        orphans=[job for job in _ask_queue(folder) if job.is_active and job.is_from_snakemake],
        last=read_last_run(folder),
        is_locked=any((folder / ".snakemake/locks").glob("*.lock")),
    )


def _ask_queue(folder: Path) -> list[SlurmJob]:
    """Return this user's jobs of a folder; none where there is no Slurm, or nobody has used it in this folder."""
    if not shutil.which("squeue"):
        return []
    try:
        return list_jobs(folder)
    except SlurmError as error:
        logs = [log.read_text("utf-8", "replace") for log in (folder / LOGS).glob("*.snakemake.log")]
        if logs and not any(SUBMITTED in text for text in logs):  # a machine with Slurm's commands and no cluster
            return []
        raise SlurmError(f"{error}. Whether jobs still run cannot be seen: try again when Slurm answers") from None


def read_last_run(folder: Path) -> LastRun | None:
    """Read the logs that Snakemake wrote in a folder; None: there are none."""
    logs = sorted((folder / LOGS).glob("*.snakemake.log"), key=lambda path: path.name, reverse=True)
    if not logs:
        return None
    headers = []
    for log in logs:
        with log.open("rb") as handle:
            text = handle.read(HEADER_BYTES).decode("utf-8", "replace")
        headers.append(dict(re.findall(rf"^ *(Host|Command|Config file\(s\)|{AGAIN}): (.*)$", text, re.MULTILINE)))
    fields = next((header for header in headers if "Command" in header), {})
    named = (reversed(re.findall(r"Path\('([^']+)'\)", header.get("Config file(s)", ""))) for header in headers)
    command = fields.get(AGAIN) or (f"{fields['Command']} (with the quotes that you typed)" if fields else "")
    return LastRun(logs[0], headers[0].get("Host", ""), command, [Path(path) for paths in named for path in paths])


def refuse_if_running(found: Leftovers, head_is_dead: bool) -> None:
    """Stop where a Snakemake works in the folder, or may do so on a machine that cannot be seen from here.

    Raises:
        CxrflowError: one does; or the last one was started elsewhere, or its log does not say where.
    """
    here = platform.node()
    if found.heads:
        pids = ", ".join(str(process.pid) for process in found.heads)
        raise CxrflowError(
            f"Snakemake still runs here (process {pids} on {here}), so there is nothing to recover: watch it with"
            f" python scripts/status.py, or stop it with kill -INT {found.heads[0].pid} and wait for its end"
        )
    if head_is_dead or found.last is None or not (found.is_locked or found.n_running):
        return
    host = found.last.host or "a machine that its log does not name"
    if host.split(".")[0] != here.split(".")[0]:
        raise CxrflowError(
            f"the last Snakemake was started on {host}, and this is {here}: whether it still runs cannot be seen from"
            f" here ({found.last.log}). Run this command there; or, if you know that it is dead, add --head-is-dead"
        )


def cancel_jobs(found: Leftovers) -> None:
    """Cancel the Slurm jobs that were left, and end the processes of this machine as SIGTERM does: trainings resume."""
    if found.orphans:
        run_slurm("scancel", *(job.job_id for job in found.orphans))
    for process in found.workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)


def wait_for_end(folder: Path, say: Callable[[str], None], sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait until no job is left, and say when their number changes. Ctrl-C leaves everything as it is."""
    said = 0
    while left := find_leftovers(folder).n_running:
        if left != said:
            say(f"{time.strftime('%H:%M:%S')} waiting for {left} to end (Ctrl-C stops the waiting, not the jobs)")
            said = left
        sleep(POLL_S)


def is_up_to_date(job: SlurmJob, changed_s: float) -> bool:
    """Return whether Slurm still knows a job and it was submitted after the last change of code and settings.

    Args:
        job: of the queue.
        changed_s: Unix time of that change.
    """
    try:
        said = run_slurm("squeue", "--noheader", "--states=all", f"--jobs={job.job_id}", "--format=%V").strip()
    except SlurmError:
        return False
    return said > datetime.datetime.fromtimestamp(changed_s).isoformat(timespec="seconds")


def describe_leftovers(found: Leftovers) -> str:
    """Return what was found, in lines."""
    last = found.last
    lines = ["no Snakemake has run in this folder"] if last is None else []
    if last:
        where = f" on {last.host}" if last.host else ""
        lines.append(f"the last Snakemake{where}: {last.command or 'its command is not in its log'} (log: {last.log})")
    lines.append("the folder is locked" if found.is_locked else "the folder is not locked")
    if found.orphans:
        rows = [(job.job_id, job.state, job.elapsed, job.comment) for job in found.orphans]
        table = tabulate(rows, headers=["job", "state", "time", "rule and wildcards"], disable_numparse=True)
        lines.append(f"Slurm jobs that it left, {len(rows)}:\n{table}")
    else:
        lines.append("it left no Slurm jobs" if shutil.which("squeue") else "no Slurm here, so no jobs to look for")
    for each in found.workers:
        words = " ".join(each.words)
        lines.append(f"still running on {platform.node()}: process {each.pid} (kill {each.pid} stops it): {words:.100}")
    return "\n".join(lines)
