"""What processes do that are to fail; without torchvision, whose import takes as long as that of torch."""

import os
import signal

from torch import distributed

from cxrflow.errors import CxrflowError


def fail_in_one(failing: int, how: str) -> None:
    """Fail in one process while the others wait for it."""
    rank = distributed.get_rank()
    print(f"process {rank} speaks")
    if rank == failing:
        FAILURES[how]()
    distributed.barrier()


def _raise_error() -> None:
    raise CxrflowError("what went wrong")


def _be_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


FAILURES = {"error": _raise_error, "kill": _be_killed}
