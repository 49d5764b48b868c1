"""Hashes that earlier runs have worked out, in a file, for as long as what they were worked out from is the same.

The file may be deleted at any time, and where its folder is not there or not to be written in, there is none: then they
are worked out anew.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path


class HashMemory:
    """Hashes by name, kept in a file.

    Args:
        file: where they are kept.
        state: text that differs whenever any of the hashes could; hashes of another state are forgotten.
    """

    def __init__(self, file: Path, state: str) -> None:
        self._file = file
        self._state = state
        self._hashes = _read_hashes(file, state)

    def recall(self, name: str, work_out: Callable[[], str]) -> str:
        """Return the hash of this name, worked out only if nobody has."""
        if name not in self._hashes:
            self._hashes[name] = work_out()
            self._keep()
        return self._hashes[name]

    def _keep(self) -> None:
        """Write the file as a whole: other jobs read and write it at the same time."""
        with contextlib.suppress(OSError):  # no folder, or not ours: only time is lost
            handle, temporary = tempfile.mkstemp(dir=self._file.parent, prefix=self._file.name)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({"state": self._state, "hashes": self._hashes}, file)
            os.replace(temporary, self._file)


def _read_hashes(file: Path, state: str) -> dict[str, str]:
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there, or cut short when a machine went down
        return {}
    is_same = isinstance(kept, dict) and kept.get("state") == state
    return dict(kept["hashes"]) if is_same else {}
