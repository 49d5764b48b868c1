"""Show how far a study is, while it runs or after it died, on a Slurm cluster or on one machine.

Reads the results, the logs and the Slurm queue; writes nothing and takes no lock, so it disturbs nothing. Run it in the
folder that Snakemake was started in.

    python scripts/status.py --configfile config/lungs.yaml
    python scripts/status.py --study lungs --watch 30
"""

import time
from pathlib import Path

from cxrflow.config.stages import run_stage
from cxrflow.operate.choosing import choose_config, read_study
from cxrflow.operate.watching import describe_study

CLEAR = "\033[2J\033[H"  # of a terminal


def show_status(
    *,
    configfile: Path | None = None,
    study: str | None = None,
    config: list[str] | None = None,
    watch: float | None = None,
) -> None:
    """Print the state of a study once, or again and again.

    configfile: the study's config; without it and --study, the one study that has results here
    study: name of the study, instead of its config
    config: settings that replace those of the study, as they were given to Snakemake: data_root=DIR,
        'train={epochs: 3}'
    watch: seconds between looks until Ctrl-C; without it there is one look
    """
    chosen = read_study(choose_config(configfile, study), config or ())
    print(describe_study(chosen, Path.cwd()))
    while watch is not None:
        time.sleep(max(1.0, watch))
        page = describe_study(chosen, Path.cwd())  # before the screen is cleared: squeue may take its time
        print(f"{CLEAR}{page}", flush=True)


if __name__ == "__main__":
    run_stage(show_status)
