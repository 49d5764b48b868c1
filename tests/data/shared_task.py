"""What the tests of worker processes let them do; in a module of its own, so that they can import it."""

import os
import signal
from pathlib import Path

from cxrflow.errors import CxrflowError


def add_process(number: int) -> tuple[int, int]:
    return number, os.getpid()


def fail_at_three(number: int) -> int:
    if number == 3:
        raise CxrflowError("film 3 is gone: put it back")
    return number


def die_at_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def leave_at_three(number: int) -> int:
    if number == 3:
        os._exit(5)
    return number


def write_process(folder: Path) -> int:
    (folder / str(os.getpid())).touch()
    return os.getpid()
