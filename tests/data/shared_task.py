"""What the tests of worker processes let them do; in a module of its own, so that they can import it."""

import os
import signal
import time
from pathlib import Path

from cxrflow.errors import CxrflowError


def add_process(number: int) -> tuple[int, int]:
    time.sleep(0.02)  # long enough for every process to get some
    return number, os.getpid()


def fail_at_three(number: int) -> int:
    if number == 3:
        raise CxrflowError("film 3 is gone: put it back")
    return number


def die_at_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def write_process(folder: Path) -> int:
    (folder / str(os.getpid())).touch()
    time.sleep(0.01)  # long enough for both to get some
    return os.getpid()
