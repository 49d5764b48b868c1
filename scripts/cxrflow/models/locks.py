"""A lock against a second copy of the same work, as a restarted scheduler may start one beside the first."""

import contextlib
import errno
import fcntl
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from cxrflow.errors import CxrflowError

# What file systems without locks answer (some NFS and Lustre mounts).
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


@contextlib.contextmanager
def hold_lock(path: Path, work: str) -> Iterator[None]:
    """Hold a lock file for the length of a block; the system lets go of it if the process dies.

    Where the file system knows no locks, a line says so and the work goes on without.

    Args:
        path: of the lock file; it is made, and at the end removed, with its folder if nothing else is in it.
        work: what is being done, for the message to a second copy.

    Raises:
        CxrflowError: another process holds it; the message names its host, process and Slurm job.
    """
    descriptor = _acquire(path, work)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # before letting go of it: whoever opens it now makes a new one
        os.close(descriptor)
        with contextlib.suppress(OSError):  # not empty: something is left for the next run
            path.parent.rmdir()


def _acquire(path: Path, work: str) -> int:
    """Return the descriptor of the locked file."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # the first copy is done this very moment and has removed the folder
            continue
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(descriptor, 1000, 0).decode("utf-8", "replace").strip() or "another process"
            os.close(descriptor)
            if error.errno not in NO_LOCKS:
                raise CxrflowError(
                    f"{work} is already running: {owner} holds {path}. "
                    "Wait for it, or stop it; then run the same command again"
                ) from None
            print(f"note: the file system of {path} has no locks; make sure that no second copy of {work} runs")
            return os.open(os.devnull, os.O_RDONLY)
        if _is_still(path, descriptor):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{_describe_process()}\n".encode(), 0)
            return descriptor
        os.close(descriptor)  # its owner removed it while it was being opened


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _describe_process() -> str:
    job = os.environ.get("SLURM_JOB_ID")
    return f"process {os.getpid()} on host {platform.node()}" + (f" (Slurm job {job})" if job else "")
