"""Repair a working folder after Snakemake was killed: a kill, a closed session, a rebooted login node.

Reads Snakemake's log and the Slurm queue; lists the jobs that it left, waits for them or cancels them, and removes
Snakemake's lock. Run it in the folder that Snakemake was started in, on the same login node.

    python scripts/recover.py              # what is left, and what to do; unlocks if no job is left
    python scripts/recover.py --wait       # let the jobs end: their work counts
    python scripts/recover.py --cancel     # cancel them; trainings resume from their last checkpoint
"""

import subprocess
import sys
from pathlib import Path

from cxrflow.config.stages import run_stage
from cxrflow.errors import CxrflowError
from cxrflow.operate.jobs import Call, choose_config
from cxrflow.operate.recovering import cancel_jobs, describe_leftovers, find_leftovers, refuse_if_running, wait_for_end

CHOICE = """
what to do:
  python scripts/recover.py --wait      let them end, then unlock: their work counts
  python scripts/recover.py --cancel    cancel them, then unlock: trainings resume from their last checkpoint"""


def recover(
    *,
    wait: bool = False,
    cancel: bool = False,
    head_is_dead: bool = False,
    configfile: Path | None = None,
    config: list[str] | None = None,
) -> None:
    """Explain what a killed Snakemake left, and repair the folder.

    wait: wait until the jobs that it left have ended
    cancel: cancel those on the cluster, and end those of this machine by SIGTERM
    head_is_dead: you know that no Snakemake works in this folder, on any machine
    configfile: the study's config, where Snakemake's log does not name it
    config: settings that replace those of the study, as given to Snakemake: data_root=DIR, 'train={epochs: 3}'
    """
    if wait and cancel:
        raise CxrflowError("--wait and --cancel exclude each other: choose one")
    found = find_leftovers(Path.cwd())
    refuse_if_running(found, head_is_dead)
    print(describe_leftovers(found))
    if found.n_running and not (wait or cancel):
        print(CHOICE)
        return
    if cancel:
        cancel_jobs(found)
    wait_for_end(Path.cwd(), print)
    if found.is_locked:
        logged = found.last.configs if found.last else ()
        call = Call(choose_config(configfile or next(iter(logged), None)), tuple(config or ()))
        if subprocess.run([sys.executable, "-m", "snakemake", "--unlock", *call.words], check=False).returncode:
            raise CxrflowError("Snakemake could not unlock the folder: what it printed above says why")
    print("\nto resume, start the same Snakemake command again" + (f":\n  {found.last.command}" if found.last else ""))


if __name__ == "__main__":
    run_stage(recover)
