"""What a dead Snakemake leaves behind: a lock, and on a cluster jobs that run on without it.

A new Snakemake does not take those jobs over: it would start a second copy beside each. So they must end before it
starts. Whether one still rules the folder is seen in /proc for this machine only; on which machine the last one was
started, Snakemake's own log says (.snakemake/log/, where `quiet` does not hide the host).
"""

import platform
import re
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrflow.errors import CxrflowError
from cxrflow.operate.choosing import find_config
from cxrflow.operate.processes import Process, list_processes
from cxrflow.operate.slurm import SlurmError, SlurmJob, cancel_jobs, has_command, list_jobs
from cxrflow.operate.steps import RULES

LOCKS = Path(".snakemake/locks")
LOGS = Path(".snakemake/log")
SUBMITTED = "SLURM run ID:"  # the Slurm plugin writes it into Snakemake's log at its start
HEADER_BYTES = 20_000  # of a log, in which its header is
POLL_S = 15.0


@dataclass(frozen=True)
class LastRun:
    """The last Snakemake that worked here, by its log.

    Attributes:
        log: its path.
        host: where it was started; empty: the log does not say.
        command: as typed, quoted for a shell; empty: the log does not say.
        configfiles: it read.
    """

    log: Path
    host: str
    command: str
    configfiles: tuple[str, ...]

    @property
    def is_elsewhere(self) -> bool:
        """Whether it was started on another machine."""
        return bool(self.host) and _short(self.host) != _short(platform.node())


@dataclass(frozen=True)
class Leftovers:
    """What there is in a folder.

    Attributes:
        folder: the working directory.
        workers: processes of this machine that make its files.
        orphans: Slurm jobs that a Snakemake of this folder submitted and that have not ended.
        others: other Slurm jobs of this folder; one of them may be a Snakemake.
        last: the last run; None: there was none.
        is_locked: whether a lock is there.
        has_slurm: whether the queue could be asked.
    """

    folder: Path
    workers: tuple[Process, ...]
    orphans: tuple[SlurmJob, ...]
    others: tuple[SlurmJob, ...]
    last: LastRun | None
    is_locked: bool
    has_slurm: bool

    @property
    def is_clean(self) -> bool:
        """Whether nothing is left over."""
        return not (self.is_locked or self.orphans or self.workers)


def find_leftovers(folder: Path) -> Leftovers:
    """Look for what a Snakemake of a folder has left.

    Raises:
        SlurmError: the queue does not answer: orphans could not be seen.
    """
    queue = ask_queue(folder)
    jobs = [job for job in queue or [] if job.is_active and job.is_in(folder)]
    processes = list_processes(folder)
    return Leftovers(
        folder=folder,
        workers=tuple(process for process in processes if is_worker(process)),
        orphans=tuple(job for job in jobs if job.is_from_snakemake),
        others=tuple(job for job in jobs if not job.is_from_snakemake),
        last=read_last_run(folder),
        is_locked=any((folder / LOCKS).glob("*.lock")),
        has_slurm=queue is not None,
    )


def ask_queue(folder: Path) -> list[SlurmJob] | None:
    """Return this user's jobs; None: there is no Slurm, or nobody has used it here.

    Raises:
        SlurmError: jobs may have been submitted from here, and the queue does not answer.
    """
    if not has_command("squeue"):
        return None
    try:
        return list_jobs()
    except SlurmError as error:
        logs = [log.read_text("utf-8", "replace") for log in (folder / LOGS).glob("*.snakemake.log")]
        if logs and not any(SUBMITTED in text for text in logs):  # a machine with Slurm's commands and no cluster
            return None
        raise SlurmError(f"{error}. Whether jobs still run cannot be seen: try again when Slurm answers") from None


def is_worker(process: Process) -> bool:
    """Return whether a process runs the command of a rule: `python scripts/train.py ...`."""
    scripts = (re.fullmatch(r"(?:.*/)?scripts/(\w+)\.py", word) for word in process.words[:3])
    return any(match[1] in RULES for match in scripts if match)


def read_last_run(folder: Path) -> LastRun | None:
    """Read the logs that Snakemake wrote in a folder; None: there are none.

    The newest one says where it ran. The command and the configs are those of the newest log that has them: that of
    `snakemake --unlock` has none.
    """
    logs = sorted((folder / LOGS).glob("*.snakemake.log"), key=lambda path: path.name, reverse=True)
    if not logs:
        return None
    host = _read_header(logs[0]).get("Host", "")
    fields = next((header for log in logs if "Command" in (header := _read_header(log))), {})
    command = re.sub(r"^(?:/.*?/)?(snakemake)(?:/__main__\.py)?(?= |$)", r"\1", fields.get("Command", ""))
    configs = re.findall(r"Path\('([^']+)'\)", fields.get("Config file(s)", ""))
    return LastRun(logs[0], host, quote_command(command), tuple(configs))


def _read_header(log: Path) -> dict[str, str]:
    """Return what the first lines of a log say of host, command and configs."""
    with log.open("rb") as handle:
        text = handle.read(HEADER_BYTES).decode("utf-8", "replace")
    return dict(re.findall(r"^  (Host|Command|Config file\(s\)): (.*)$", text, re.MULTILINE))


def quote_command(logged: str) -> str:
    """Return a command for a shell from Snakemake's log, which has its words without their quotes.

    Where a word with a space in it ended is known by its brackets: `--config train={epochs: 3}`. Of other words with
    spaces, such as a path, nothing tells.
    """
    words = [""]
    for part in logged.split(" "):
        words[-1:] = [f"{words[-1]} {part}"] if _is_open(words[-1]) else [words[-1], part]
    return shlex.join(logged.split() if _is_open(words[-1]) else filter(None, words))


def _is_open(word: str) -> bool:
    """Say whether more brackets open than close in a word."""
    return sum(map(word.count, "{[")) > sum(map(word.count, "}]"))


def refuse_if_running(heads: Sequence[Process]) -> None:
    """Stop where a Snakemake rules the folder from this machine: its jobs are no orphans.

    Raises:
        CxrflowError: one does.
    """
    if heads:
        pids = ", ".join(str(process.pid) for process in heads)
        raise CxrflowError(
            f"Snakemake still runs here (process {pids} on {platform.node()}), nothing is to be recovered:"
            f" watch it with python scripts/status.py, or stop it with"
            f" kill -INT {heads[0].pid} and wait for its end"
        )


def refuse_if_unseen(found: Leftovers, head_is_dead: bool) -> None:
    """Stop where a Snakemake may rule the folder from a machine that cannot be seen from here.

    Raises:
        CxrflowError: the last one was started elsewhere, or its log does not say where.
    """
    if head_is_dead or found.is_clean or found.last is None:
        return
    if found.last.is_elsewhere:
        raise CxrflowError(
            f"the last Snakemake was started on {found.last.host}, and this is {platform.node()}: whether it still runs"
            " cannot be seen from here. Run this command there; or, if you know that it is dead, add --head-is-dead"
        )
    if not found.last.host and (found.is_locked or found.orphans):
        raise CxrflowError(
            f"{found.last.log} does not say on which machine Snakemake was started, and on this one ({platform.node()})"
            " none runs. If none runs on another login node either, add --head-is-dead"
        )


def wait_for_end(
    folder: Path, report: Callable[[str], None], *, poll_s: float = POLL_S, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Wait until no orphan and no worker is left, and say when their number changes. Ctrl-C leaves all as it is."""
    told = -1
    while True:
        found = find_leftovers(folder)
        left = len(found.orphans) + len(found.workers)
        if left == 0:
            return
        if left != told:
            report(f"{time.strftime('%H:%M:%S')} waiting for {left} to end (Ctrl-C stops the waiting, not the jobs)")
            told = left
        sleep(poll_s)


def cancel_orphans(found: Leftovers) -> None:
    """Cancel the Slurm jobs that a dead Snakemake left. Trainings keep their last checkpoint."""
    cancel_jobs([job.job_id for job in found.orphans])


def find_configfile(found: Leftovers) -> str | None:
    """Return the config of the last run, from its log, else from the study whose files are locked; None: not known."""
    if found.last and found.last.configfiles:
        path = Path(found.last.configfiles[-1])
        return str(path.relative_to(found.folder) if path.is_relative_to(found.folder) else path)
    for lock in sorted((found.folder / LOCKS).glob("*.output.lock")):
        match = re.search(r"^results/([^/\n]+)/", lock.read_text("utf-8", "replace"), re.MULTILINE)
        config = find_config(match[1]) if match else None
        if config:
            return str(config)
    return None


def describe_leftovers(found: Leftovers) -> str:
    """Say what was found, in lines."""
    lines = [_say_last(found.last), "a lock is there" if found.is_locked else "no lock is there"]
    if found.orphans:
        lines.append(f"Slurm jobs that it left, {len(found.orphans)}:")
        lines += _table([_row(job) for job in found.orphans])
    else:
        lines.append(
            "it left no Slurm jobs"
            if found.has_slurm
            else "no Slurm, or never used from this folder: no jobs to look for"
        )
    lines += [
        f"still at work on {platform.node()}: process {each.pid} (kill {each.pid} stops it): {_say_words(each)}"
        for each in found.workers
    ]
    lines += [
        f"note: Slurm job {job.job_id} ({job.name}) also works in this folder and is left alone; if it is a Snakemake,"
        " let it end or cancel it first"
        for job in found.others
    ]
    return "\n".join(lines)


def _say_last(last: LastRun | None) -> str:
    if last is None:
        return "no Snakemake has run in this folder"
    where = f" on {last.host}" if last.host else ""
    return f"the last Snakemake{where}: {last.command or 'its command is not in its log'} (log: {last.log})"


def _row(job: SlurmJob) -> tuple[str, ...]:
    match = re.fullmatch(r"(?:rule|group)_(.+?)(?:_wildcards_(.+))?", job.comment)
    rule, wildcards = (match[1], match[2] or "") if match else (job.comment or "?", "")
    return job.job_id, job.state, job.elapsed, rule, wildcards


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    table = [("job", "state", "time", "rule", "of"), *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  " + "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in table]


def _say_words(process: Process) -> str:
    text = " ".join(process.words)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _short(host: str) -> str:
    return host.split(".")[0]
