"""One training on several GPUs: PyTorch's DistributedDataParallel and SyncBatchNorm, started by its torchrun.

Each process has one GPU, the whole network and a contiguous part of the rows of every batch. Order and augmentation are
those of the whole batch, and so are gradients, BatchNorm statistics and the epoch's sums; noise (dropout, stochastic
depth) is each process's own. The result is therefore not that of one GPU bit for bit, but as good.

A training in one process passes through none of this: there is nothing to divide and nothing to wait for.
"""

import datetime
import logging
import os
import platform
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from cxrflow.config.stages import SIGTERM_STATUS, explain_error, report_sigterm
from cxrflow.errors import CxrflowError

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

TIMEOUT = datetime.timedelta(minutes=30)  # how long a process waits for the others, say while the first writes a file
GRACE_S = 10  # between SIGTERM and SIGKILL; Slurm gives all of a job 30 s
AT_ONCE_S = 2  # between a rank that is killed and the others' failures for the lack of it
OURS = f"{CxrflowError.__name__}: "  # begins what torchrun keeps of our errors
LEAST_ROWS = 2  # of a batch in each process: BatchNorm has no variance to divide by in a batch of one


@dataclass(frozen=True)
class Ranks:
    """The place of this process among those that train together."""

    rank: int = 0  # of this process
    count: int = 1  # processes that train together, one per GPU

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.rank == 0

    def wrap(self, network: nn.Module) -> nn.Module:
        """Return what to call in training instead of the network, so that BatchNorm and gradients span all ranks.

        torch.nn.SyncBatchNorm computes on GPUs only: processes on a CPU normalize their own rows.
        """
        if self.count == 1:
            return network
        if next(network.parameters()).is_cuda:
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return DistributedDataParallel(network)

    def align(self, network: nn.Module) -> None:
        """Give every rank the running statistics of the first; on GPUs they are equal already."""
        if self.count > 1:
            for buffer in network.buffers():
                distributed.broadcast(buffer, src=0)

    def own_part(self, rows: slice) -> slice:
        """Return the part of some rows that this rank computes; the parts are as equal as can be."""
        n_rows = rows.stop - rows.start
        first, last = (rows.start + n_rows * rank // self.count for rank in (self.rank, self.rank + 1))
        return slice(first, last)

    def total(self, values: Tensor) -> Tensor:
        """Return the sum over all ranks, the same bits on each."""
        if self.count > 1:
            values = values.clone()
            distributed.all_reduce(values)
        return values

    def join(self, part: Tensor) -> Tensor:
        """Return the parts of all ranks in order, on the CPU."""
        if self.count == 1:
            return part.cpu()
        parts: list[Any] = [None] * self.count
        distributed.all_gather_object(parts, part.cpu())
        return torch.cat(parts)

    def share(self, value: Any) -> Any:
        """Return the value of the rank that leads; it can be pickled."""
        if self.count == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]


ALONE = Ranks()


def run_together(count: int, device: str) -> None:
    """Run this very command in `count` processes by torchrun and wait for their end; each of them calls `join_ranks`.

    Raises:
        CxrflowError: there are too few GPUs, a process was killed, or one of them raised this error.
        RuntimeError: a process raised another error; the message is its traceback.
        SystemExit: after SIGTERM, with its status.
    """
    # here: a training in one process needs none of it
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import get_args_parser, run

    check_gpus(count, device)
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # what it reports is raised here
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # torchrun would, with a warning; see `prepare_process`
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(GRACE_S))
    options = ["--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", str(count)]
    try:
        run(get_args_parser().parse_args([*options, *sys.argv]))  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        raise _explain_failure(error.failures, count) from None
    except SignalException as stop:
        if stop.sigval == signal.SIGINT:
            raise KeyboardInterrupt from None
        report_sigterm()
        sys.exit(SIGTERM_STATUS)


def check_gpus(count: int, device: str) -> None:
    """Check that every process can have a GPU; `auto` puts no CPU in the place of a missing one.

    Raises:
        CxrflowError: there are fewer GPUs than processes.
    """
    visible = torch.cuda.device_count()
    if device != "cpu" and count > visible:
        raise CxrflowError(
            f"compute.gpus is {count}, and PyTorch sees {visible} on {platform.node()}: set compute.gpus to 1 or that "
            "number, or request more (the profile slurm requests as many; CUDA_VISIBLE_DEVICES can hide some)"
        )


def _explain_failure(failures: Mapping[int, "ProcessFailure"], count: int) -> Exception:
    """Return the error that ended a training: a rank that was killed, an error with a remedy, or all tracebacks.

    In this order, because the other ranks fail in the same moment for the lack of the one that is the cause.
    """
    first_s = min(failure.timestamp for failure in failures.values())
    said: dict[int, Any] = {}
    for rank, failure in sorted(failures.items()):
        if failure.timestamp > first_s + AT_ONCE_S:  # ended by the launcher
            continue
        if failure.exitcode < 0 and failure.exitcode != -signal.SIGTERM:
            return CxrflowError(
                f"rank {rank} of the {count} processes of this training was ended by {failure.signal_name()} (SIGKILL: "
                "often for lack of memory), and the others with it. Run the same command again to resume from the last "
                "checkpoint"
            )
        said[rank] = failure.message
    words = {rank: each["message"] for rank, each in said.items() if isinstance(each, dict)}
    remedies = [text.removeprefix(OURS) for text in words.values() if text.startswith(OURS)]
    if remedies:
        return CxrflowError(remedies[0])
    stacks = [f"rank {rank}:\n{said[rank]['extraInfo']['py_callstack']}" for rank in words]
    return RuntimeError("\n".join([f"{len(said)} of the {count} processes of this training failed", *stacks]))


@contextmanager
def join_ranks(device: str) -> Iterator[Ranks]:
    """Be one of the processes that `run_together` started, for the length of a block; elsewhere, be alone.

    The first rank speaks for all. An error is left for the launcher, which raises it: an orderly end would wait for the
    other ranks.
    """
    if not distributed.is_torchelastic_launched():
        yield ALONE
        return
    ranks = Ranks(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    if device != "cpu":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("gloo" if device == "cpu" else "nccl", timeout=TIMEOUT)
    with open(os.devnull, "w") as nowhere, nullcontext() if ranks.leads else redirect_stdout(nowhere):
        try:
            yield ranks
        except SystemExit as leave:
            _leave(leave.code if isinstance(leave.code, int) else 1)
        except Exception as error:
            report_to_launcher(error)
            _leave(1)
    distributed.destroy_process_group()


def report_to_launcher(error: Exception) -> None:
    """Leave an error in the file where torchrun looks for it, whole: torchrun may end this rank while it writes."""
    from torch.distributed.elastic.multiprocessing.errors import get_error_handler

    file = os.environ["TORCHELASTIC_ERROR_FILE"]
    os.environ["TORCHELASTIC_ERROR_FILE"] = f"{file}.part"
    remedy = explain_error(error)
    get_error_handler().record_exception(CxrflowError(remedy) if remedy else error)
    os.replace(f"{file}.part", file)


def _leave(status: int) -> NoReturn:
    sys.stdout.flush()
    os._exit(status)
