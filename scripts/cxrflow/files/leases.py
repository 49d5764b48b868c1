"""A lease on a folder of unfinished work, so that no second copy of a job works in it at the same time.

A restarted scheduler starts jobs again while they still run; a retry may start while the old process is still
ending. File locks would do on one machine, but many cluster file systems have none or pretend to. A lease is a small
file that its holder touches every few seconds, made and taken over with operations that are atomic on network file
systems too (exclusive creation, rename). Ages are differences of times that the file system itself wrote, so the
clocks of two nodes need not agree.

Writes <folder>/lease.json: who works there.
"""

import contextlib
import errno
import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cxrflow.errors import CxrflowError

FILE = "lease.json"
NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK}  # what file systems without links answer
HEARTBEAT_S = 10.0
STALE_S = 120.0  # network file systems show another node's touch up to a minute late
CHECK_PAUSES_S = (0.2, 1.0, 3.0)  # between looks at a file that cannot be read
WAIT_S = STALE_S + 30.0  # long enough to see a holder on a dead node go stale


@dataclass(frozen=True)
class Holder:
    """Who holds a lease.

    Attributes:
        host: name of the machine.
        pid: the process.
        started: when the kernel started it, ticks after boot; numbers of processes are used again.
        space: which numbers the pid is one of: the boot and the process namespace.
        job: Slurm job, or empty.
        work: what it does.
        token: of this one lease.
    """

    host: str
    pid: int
    started: int
    space: str
    job: str
    work: str
    token: str

    def __str__(self) -> str:
        """Name the holder as a person would look for it."""
        return f"process {self.pid} on host {self.host}" + (f" (Slurm job {self.job})" if self.job else "")

    def is_known_dead(self) -> bool:
        """Say whether the process is surely gone; only one on this machine can be looked at."""
        return self.space == _process_space() and _start_of(self.pid) != self.started and not _is_hidden(self.pid)


class Lease:
    """A held lease. `check` before anything is written that a second copy could also write."""

    def __init__(self, path: Path, holder: Holder) -> None:
        """Take the lease's file and its holder."""
        self._path = path
        self._holder = holder
        self._ended = threading.Event()

    def check(self) -> None:
        """Make sure that the lease is still this process's.

        Raises:
            CxrflowError: another copy took it over, because this process stood still for too long.
        """
        found = self._read_patiently()
        if found is None:
            raise CxrflowError(
                f"{self._path} is gone, which says that {self._holder.work} is this process's: nothing more is written"
                " here; run the same command again"
            )
        if found.token != self._holder.token:
            raise CxrflowError(
                f"{self._holder.work} was taken over by {found} while this process stood still"
                f" for over {STALE_S:.0f} s: nothing more is written here; leave it to the other one"
            )

    def _read_patiently(self) -> Holder | None:
        """Read the file again where it cannot be read: a network may fail, and `_remove_stale` may put it back."""
        for pause_s in (*CHECK_PAUSES_S, 0.0):
            found = read_holder(self._path)
            if found:
                return found
            time.sleep(pause_s)
        return None

    def keep_alive(self, heartbeat_s: float) -> None:
        """Touch the file until `release`; runs in a thread of its own."""
        while not self._ended.wait(heartbeat_s):
            found = read_holder(self._path)
            if found and found.token != self._holder.token:
                return  # `check` reports it where it can be acted on
            with contextlib.suppress(OSError):  # a file system that hangs for a moment; the next touch counts
                os.utime(self._path)

    def release(self) -> None:
        """Stop touching the file and remove it if it is still this process's."""
        self._ended.set()
        found = read_holder(self._path)
        if found and found.token == self._holder.token:
            self._path.unlink(missing_ok=True)


@contextlib.contextmanager
def hold_lease(
    folder: Path, work: str, *, wait_s: float | None = None, stale_s: float = STALE_S, heartbeat_s: float = HEARTBEAT_S
) -> Iterator[Lease]:
    """Hold the lease on a folder for the length of a block.

    The lease of a process that is gone is taken over: at once where it ran on this machine, after `stale_s` without a
    sign of life elsewhere.

    Args:
        folder: of the unfinished work; made if need be, and at the end removed if nothing else is in it.
        work: what is being done, for messages.
        wait_s: how long to wait for a holder that lives. By default WAIT_S in a Slurm job, whose retry may start while
            the old process is still ending, and not at all elsewhere.
        stale_s: age of the last sign of life, in seconds, at which a holder counts as dead.
        heartbeat_s: time between signs of life.

    Raises:
        CxrflowError: another process holds it; the message names its host, process and Slurm job.
    """
    holder = _describe_self(work)
    path = folder / FILE
    wait_s = (WAIT_S if holder.job else 0.0) if wait_s is None else wait_s
    _acquire(path, holder, wait_s, stale_s)
    lease = Lease(path, holder)
    thread = threading.Thread(target=lease.keep_alive, args=(heartbeat_s,), daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        lease.release()
        thread.join()
        with contextlib.suppress(OSError):  # not empty: something is left for the next run
            folder.rmdir()


def read_holder(path: Path) -> Holder | None:
    """Return who holds a lease; None where there is none, or it is just being written or removed."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        return Holder(**content)
    except (OSError, ValueError, TypeError):
        return None


def age_s(path: Path) -> float:
    """Return how long ago a file was touched, seconds, by the clock of its file system; infinity if it is gone."""
    probe = path.parent / f".{path.name}.{secrets.token_hex(4)}.now"
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
    finally:
        probe.unlink(missing_ok=True)


def _acquire(path: Path, holder: Holder, wait_s: float, stale_s: float) -> None:
    """Make the lease's file, after waiting for a living holder and over a dead one's."""
    give_up = time.monotonic() + wait_s
    told = False
    while not _create(path, holder):
        other = read_holder(path)
        if _is_over(path, other, stale_s):
            _remove_stale(path, other)
            continue
        if time.monotonic() >= give_up:
            raise CxrflowError(
                f"{holder.work} is already running: {other or 'another process'} holds {path}."
                f" Wait for it, or stop it; then run the same command again. (A holder on another machine that died"
                f" counts as dead {stale_s:.0f} s after its last sign of life)"
            )
        if not told:
            print(f"waiting up to {wait_s:.0f} s: {other or 'another process'} works on {holder.work}", flush=True)
            told = True
        time.sleep(min(1.0, wait_s / 10))


def _create(path: Path, holder: Holder) -> bool:
    """Make the lease's file whole or not at all; say whether it was this process that made it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.parent / f".{path.name}.{holder.token}.draft"
    try:
        draft.write_text(json.dumps(asdict(holder)))
        _link(draft, path)
    except FileExistsError:  # a holder; itself, where NFS has sent the link a second time for the lack of an answer
        found = read_holder(path)
        return found is not None and found.token == holder.token
    except FileNotFoundError:  # the one before has removed the folder this very moment
        return False
    finally:
        draft.unlink(missing_ok=True)
    return True


def _link(source: Path, path: Path) -> None:
    """Make a file appear whole under a name that must be free: atomic on NFS too. Raises FileExistsError if it is not.

    Where the file system knows no links, the file is made first and filled then: a reader waits for its content.
    """
    try:
        os.link(source, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        with path.open("x") as handle:
            handle.write(source.read_text())


def _is_over(path: Path, other: Holder | None, stale_s: float) -> bool:
    if other is not None and other.is_known_dead():
        return True
    age = age_s(path)
    if age < 0:  # a restored file, or a clock that was wrong: from now on it ages, unless a living holder touches it
        with contextlib.suppress(FileNotFoundError):
            os.utime(path)
    return stale_s < age < float("inf")


def _remove_stale(path: Path, other: Holder | None) -> None:
    """Move a dead holder's file away; of two processes that try, one takes it and the other takes nothing."""
    aside = path.parent / f".{path.name}.{secrets.token_hex(4)}.stale"
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    moved = read_holder(aside)
    if moved and (other is None or moved.token != other.token):  # a new holder's, which came in between: put it back
        with contextlib.suppress(FileExistsError):
            _link(aside, path)
    else:
        print(f"taking over from {other or 'a process'} that is gone", flush=True)
    aside.unlink(missing_ok=True)


def _describe_self(work: str) -> Holder:
    pid = os.getpid()
    return Holder(
        host=platform.node(),
        pid=pid,
        started=_start_of(pid),
        space=_process_space(),
        job=os.environ.get("SLURM_JOB_ID", ""),
        work=work,
        token=secrets.token_hex(8),
    )


def _process_space() -> str:
    """Return what makes a process number unique: the machine's boot and the namespace of process numbers."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _is_hidden(pid: int) -> bool:
    """Say whether a process lives that this user may not look at: with `hidepid`, another user's has no folder."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except ProcessLookupError:
        return False
    return False


def _start_of(pid: int) -> int:
    """Return when a process was started, clock ticks after boot; -1 if it is gone (proc(5), field 22 of stat)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return -1
    return -1 if fields[0] in "ZX" else int(fields[19])
