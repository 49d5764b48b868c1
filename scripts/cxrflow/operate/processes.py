"""Which processes of this machine work in a folder, from /proc; and which of them is a Snakemake that rules it."""

from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
# What Snakemake adds to the command of a job (spawn_jobs.py of Snakemake 9): such a process obeys another one.
OF_A_JOB = frozenset({"--nolock", "--target-jobs"})
# Asks or unlocks only: it takes no lock and starts no job.
HARMLESS = frozenset({"-n", "--dry-run", "--dryrun", "--unlock", "--summary", "--detailed-summary", "--lint", "--dag"})


@dataclass(frozen=True)
class Process:
    """One process: its number and the words of its command."""

    pid: int
    words: tuple[str, ...]

    @property
    def is_head(self) -> bool:
        """Whether it is a Snakemake that a person started to make something."""
        named = any(Path(word).name in ("snakemake", "snakemake.py") for word in self.words[:2])
        as_module = self.words[1:3] == ("-m", "snakemake")
        return (named or as_module) and not (OF_A_JOB | HARMLESS) & set(self.words)


def list_processes(folder: Path) -> list[Process]:
    """Return the processes that work in a folder, as far as this user may look; none where there is no /proc."""
    home = folder.resolve()
    found = (_read_process(entry, home) for entry in PROC.glob("[0-9]*"))
    return sorted((each for each in found if each is not None), key=lambda each: each.pid)


def _read_process(entry: Path, home: Path) -> Process | None:
    """Read one process; None: it works elsewhere, is another user's, or has just ended."""
    try:
        if (entry / "cwd").readlink() != home:
            return None
        words = (entry / "cmdline").read_bytes().split(b"\0")[:-1]
    except OSError:
        return None
    return Process(int(entry.name), tuple(word.decode("utf-8", "replace") for word in words)) if words else None


def list_heads(folder: Path) -> list[Process]:
    """Return the Snakemakes that rule a folder from this machine."""
    return [process for process in list_processes(folder) if process.is_head]
