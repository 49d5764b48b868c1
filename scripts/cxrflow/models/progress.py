"""A progress bar for people: on standard error, and only where that is a terminal. Logs get whole lines instead."""

import sys
import time
from types import TracebackType

WIDTH = 30
INTERVAL_S = 0.1  # between redraws


class ProgressBar:
    """One line that fills up and is wiped when the work is done.

    with ProgressBar("epoch 3", total=128) as bar:
        bar.advance(1)
    """

    def __init__(self, label: str, total: int) -> None:
        """Take what is done and how much of it there is; 0 where that is not known."""
        self._label = label
        self._total = total
        self._done = 0
        self._drawn_s = 0.0
        self._visible = sys.stderr.isatty()

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._visible:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def advance(self, amount: int = 1) -> None:
        """Say that this much more is done."""
        self._done += amount
        now_s = time.monotonic()
        if self._visible and now_s - self._drawn_s >= INTERVAL_S:
            self._drawn_s = now_s
            print(f"\r{self._line()}\033[K", end="", file=sys.stderr, flush=True)

    def _line(self) -> str:
        if self._total <= 0:
            return f"{self._label} {self._done}"
        filled = WIDTH * min(self._done, self._total) // self._total
        return f"{self._label} [{'#' * filled}{'.' * (WIDTH - filled)}] {100 * self._done // self._total:3d} %"
