"""Show how far a study is, while it runs or after it was killed, on a Slurm cluster or on one machine.

Reads what Snakemake says remains to be done, the results, the logs and the Slurm queue; takes no lock, so it disturbs
nothing. Run it in the folder that Snakemake was started in.

    python scripts/status.py --configfile=config/lungs.yaml
    python scripts/status.py --study lungs --watch 30
"""

import time
from pathlib import Path

from cxrflow.config.stages import run_stage
from cxrflow.operate.estimates import Estimator
from cxrflow.operate.jobs import Call, choose_config, dry_run, has_gpu
from cxrflow.operate.recovering import read_last_run
from cxrflow.operate.states import look
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

    configfile: the study's config
    study: name of the study, instead of its config: found in config/, or in what Snakemake last ran with here
    config: settings that replace those of the study, as given to Snakemake: data_root=DIR, 'train={epochs: 3}'
    watch: seconds between looks until Ctrl-C; without it there is one look
    """
    last = read_last_run(Path.cwd())
    call = Call(choose_config(configfile, study, last.configs if last else ()), tuple(config or ()))
    settings = call.load()
    jobs = dry_run("--forceall", *call.words, "--cores", "1")
    while True:
        remaining = dry_run(*call.words, "--cores", "1")
        page = describe_study(Estimator(settings, has_gpu=has_gpu()), jobs, remaining, look(Path.cwd()))
        print(page if watch is None else f"{CLEAR}{page}", flush=True)
        if watch is None:
            return
        time.sleep(max(1.0, watch))


if __name__ == "__main__":
    run_stage(show_status)
