"""Start the processes of one training on several GPUs, watch them, and end all where one ends.

As `torchrun` does, from within the command: the processes are copies of this Python that call the same function, so
that the command which a user pastes, its log, its exit status and its error message are those of one process.
"""

import contextlib
import datetime
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, cast

import torch
from torch import distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from cxrflow.errors import CxrflowError
from cxrflow.models.interrupts import SIGTERM_STATUS, leave_on_sigterm, tell_sigterm

HOST = "127.0.0.1"
TIMEOUT = datetime.timedelta(minutes=30)  # how long a process waits for the others, say while the first writes a file
GRACE_S = 10.0  # between SIGTERM and SIGKILL; Slurm gives all of a job 30 s


def run_ranks(count: int, backend: str, function: Callable[..., None], arguments: dict[str, Any]) -> None:
    """Call a function in `count` processes that train together, and return when all have ended well.

    Args:
        count: of the processes.
        backend: that they talk by, from `choose_backend`.
        function: of a module, so that the processes can import it.
        arguments: of the function, by name.

    Raises:
        CxrflowError: a process was killed from outside.
        Exception: what the first process that failed has raised.
        SystemExit: with the status that a process left with.
    """
    store = _open_store()
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="cxrflow-ranks-") as folder:
        group = (count, store.port, backend, Path(folder))
        processes = [
            spawn.Process(target=_run_rank, args=(rank, *group, function, arguments), name=f"rank {rank}", daemon=True)
            for rank in range(count)
        ]
        try:
            for process in processes:
                process.start()
            failed = _wait_for_first_failure(processes)
        finally:
            _end(processes)
        if failed is not None:
            _raise_failure(failed, count, _error_file(Path(folder), failed.name))


def _wait_for_first_failure(processes: list[SpawnProcess]) -> SpawnProcess | None:
    """Return the first process that ends badly, or None once all have ended well."""
    running = {process.sentinel: process for process in processes}
    while running:
        ended = {running.pop(cast(int, ready)) for ready in multiprocessing.connection.wait([*running])}
        for process in ended:
            process.join()
        failed = [process for process in ended if process.exitcode]
        if failed:
            # First what was killed from outside, a status below 0: the others may have failed for the lack of it.
            return min(failed, key=lambda process: process.exitcode or 0)
    return None


def _end(processes: list[SpawnProcess]) -> None:
    """End what still runs: with SIGTERM, so that it cleans up, and after a grace with SIGKILL."""
    started = [process for process in processes if process.pid is not None]
    for process in started:
        process.terminate()
    deadline_s = time.monotonic() + GRACE_S
    for process in started:
        process.join(max(0.0, deadline_s - time.monotonic()))
        process.kill()
        process.join()


def _raise_failure(failed: SpawnProcess, count: int, error_file: Path) -> None:
    """Raise in this process what a process of the group has raised, or say how it ended."""
    assert failed.exitcode is not None
    if error_file.exists():
        # Written by a process that this one started, in a temporary folder of its own that only this user may enter
        # (mkdtemp makes it with mode 0700): nobody else can put a pickle there.
        raise pickle.loads(error_file.read_bytes())
    if failed.exitcode > 0:
        if failed.exitcode == SIGTERM_STATUS:
            tell_sigterm()
        sys.exit(failed.exitcode)
    raise CxrflowError(
        f"{failed.name} of the {count} processes of this training was ended by "
        f"{signal.Signals(-failed.exitcode).name} (SIGKILL: often for lack of memory), and the others with it. "
        "Run the same command again to go on from the last checkpoint"
    )


def _run_rank(
    rank: int, count: int, port: int, backend: str, folder: Path, function: Callable[..., None], arguments: Any
) -> None:
    """Be one process of the group; the first speaks for all, and errors are left in a file for the one that started it.

    Leaves by os._exit after an error: an orderly end would wait for the other processes.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the starting process too, which ends this one
    leave_on_sigterm(tell=False)
    threading.Thread(target=_follow_parent, daemon=True).start()
    quiet = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # for as long as this process lives
    if rank > 0:
        sys.stdout = sys.stderr = quiet
    else:
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        with _join_group(rank, count, port, backend):
            function(**arguments)
    except SystemExit as leave:
        _leave(leave.code if isinstance(leave.code, int) else 1)
    except BaseException as error:  # whatever it is: it is raised again by the process that started this one
        _error_file(folder, f"rank {rank}").write_bytes(_pickle_error(error))
        _leave(1)


def _open_store() -> TCPStore:
    """Open what the processes find each other by, on a free port of this machine, which is its attribute `port`."""
    return TCPStore(HOST, 0, is_master=True, wait_for_workers=False)


@contextlib.contextmanager
def _join_group(rank: int, count: int, port: int, backend: str) -> Iterator[None]:
    """Be one of the processes that train together, for the length of a block.

    Args:
        rank: of this process, and of its GPU.
        count: of the processes.
        port: of the store on this machine where they find each other.
        backend: "nccl" between GPUs, "gloo" on a CPU.
    """
    if backend == "nccl":
        torch.cuda.set_device(rank)
    store = TCPStore(HOST, port, is_master=False, timeout=TIMEOUT)
    distributed.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=TIMEOUT)
    yield
    distributed.destroy_process_group()  # not after an error: it would wait for the others


def _leave(status: int) -> None:
    sys.stdout.flush()
    os._exit(status)


def _follow_parent() -> None:
    """End this process when the one that started it is gone: nobody else would."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _error_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.error"


def _pickle_error(error: BaseException) -> bytes:
    """Return an exception with where it was raised; as text, where it cannot be sent itself."""
    where = traceback.format_exc()
    error.add_note(where)
    try:
        content = pickle.dumps(error)
        pickle.loads(content)
    except Exception:
        return pickle.dumps(RuntimeError(where))
    return content
