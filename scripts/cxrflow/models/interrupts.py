"""What a stage does when the scheduler tells it to stop."""

import signal
import sys
from types import FrameType

SIGTERM_STATUS = 128 + signal.SIGTERM  # what a shell reports for a process that SIGTERM ended: 143


def leave_on_sigterm(tell: bool = True) -> None:
    """Leave with status 143 at SIGTERM, which Slurm sends before a time limit, with temporary files removed.

    An exception instead of the sudden default, so that files in the making are cleaned up on the way out.

    Args:
        tell: say so; of several processes of one command, one does.
    """

    def leave(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt the cleaning up
        if tell:
            tell_sigterm()
        sys.exit(SIGTERM_STATUS)

    signal.signal(signal.SIGTERM, leave)


def tell_sigterm() -> None:
    """Say why the stage ends and how to go on."""
    print("stopped by SIGTERM: run the same command again to go on", flush=True)
