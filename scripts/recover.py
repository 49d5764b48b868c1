"""Put a folder right after Snakemake died in it: a kill, a closed session, a rebooted login node.

Reads Snakemake's lock and log, and the Slurm queue. Lists the jobs that it left, waits for them or cancels them,
removes the lock, and prints the command that goes on. Run it in the folder that Snakemake was started in, on the same
login node.

    python scripts/recover.py              # what is left, and what to do; unlocks if no job is left
    python scripts/recover.py --wait       # let the jobs end: their work counts
    python scripts/recover.py --cancel     # cancel them; trainings go on from their last checkpoint
"""

import shlex
import subprocess
import sys
from pathlib import Path

from cxrflow.config.stages import run_stage
from cxrflow.errors import CxrflowError
from cxrflow.operate.choosing import choose_config
from cxrflow.operate.processes import list_heads
from cxrflow.operate.recovering import (
    POLL_S,
    Leftovers,
    cancel_orphans,
    describe_leftovers,
    find_configfile,
    find_leftovers,
    refuse_if_running,
    refuse_if_unseen,
    wait_for_end,
)

CHOICE = """
what to do:
  python scripts/recover.py --wait      let them end, then unlock: their work counts
  python scripts/recover.py --cancel    cancel them, then unlock: trainings go on from their last checkpoint"""


def recover(
    *,
    wait: bool = False,
    cancel: bool = False,
    head_is_dead: bool = False,
    profile: str | None = None,
    configfile: Path | None = None,
    config: list[str] | None = None,
    poll: float = POLL_S,
) -> None:
    """Explain what a dead Snakemake left, and put it right.

    wait: wait until the jobs that it left have ended
    cancel: cancel them
    head_is_dead: you know that no Snakemake works in this folder, on any machine
    profile: for the command that goes on, where Snakemake's log does not tell the last one; without it,
        profiles/slurm, or profiles/local where there is no Slurm
    configfile: the study's config, where Snakemake's log does not tell it
    config: settings that replace those of the study, as they were given to Snakemake: data_root=DIR,
        'train={epochs: 3}'
    poll: seconds between looks at the queue while waiting
    """
    if wait and cancel:
        raise CxrflowError("--wait and --cancel exclude each other: choose one")
    folder = Path.cwd()
    refuse_if_running(list_heads(folder))
    found = find_leftovers(folder)
    print(describe_leftovers(found))
    refuse_if_unseen(found, head_is_dead)
    if (found.orphans or found.workers) and not (wait or cancel):
        print(CHOICE)
        return
    chosen = configfile or find_configfile(found) or choose_config(None, None)
    study = ["--configfile", str(chosen), *(["--config", *config] if config else [])]
    if cancel:
        cancel_orphans(found)
    wait_for_end(folder, print, poll_s=poll)
    if found.is_locked:
        unlock(study)
    print(f"\nto go on:\n  {command_to_go_on(found, profile, study)}")


def unlock(study: list[str]) -> None:
    """Remove Snakemake's lock.

    Args:
        study: the arguments that name the study and replace its settings.

    Raises:
        CxrflowError: Snakemake could not.
    """
    command = [sys.executable, "-m", "snakemake", "--unlock", *study]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CxrflowError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    print("unlocked")


def command_to_go_on(found: Leftovers, profile: str | None, study: list[str]) -> str:
    """Return the last command, or one made from the profile and the study's arguments where the last is not known."""
    if found.last and found.last.command:
        return found.last.command
    profile = profile or ("profiles/slurm" if found.has_slurm else "profiles/local")
    return shlex.join(["snakemake", "--profile", profile, *study])


if __name__ == "__main__":
    run_stage(recover)
