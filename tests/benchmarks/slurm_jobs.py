"""What sharing Slurm jobs saves: twelve small models on the throwaway cluster of tests/slurm, by trainings per job.

As root, with what tests/slurm needs:  python -m tests.benchmarks.slurm_jobs 1 6
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.slurm.cluster import Cluster
from tests.slurm.conftest import ONE_THREAD, PROFILE, SITE, STUDY, Login, make_here
from tests.workflow.conftest import copy_workflow

MODELS = 12
SHORT = STUDY.replace("epochs: 24, restart_epochs: 10", "epochs: 2, restart_epochs: 2")
MINUTES = ("--set-resources", "train:runtime=20", "evaluate:runtime=10", "score:runtime=10")


def measure(login: Login, study: Path, per_job: int) -> str:
    """Make all models of a study on the cluster; return the wall time, and how many jobs took how long."""
    config = (f"seeds={list(range(MODELS))}", f"compute={{trainings_per_job: {per_job}}}")
    command = [login.python, "-m", "snakemake", "models", *PROFILE, *ONE_THREAD, *MINUTES, "--config", *config]
    started = time.monotonic()
    run = subprocess.run(command, cwd=study, env=login.environment, capture_output=True, text=True, check=True)
    wall_s = time.monotonic() - started
    name = next(word for word in (run.stdout + run.stderr).split() if word.startswith("cxrflow_"))
    said = login.cluster.ask("sacct", "-nXP", "--name", name, "-o", "ElapsedRaw,Partition")
    jobs = [(int(seconds), partition) for seconds, partition in (line.split("|") for line in said.splitlines())]
    all_s, gpu_s = sum(s for s, _ in jobs), sum(s for s, partition in jobs if partition == "gpu")
    return f"{wall_s:.0f} s, {len(jobs)} jobs of {all_s} s together, {gpu_s} s of them with a GPU"


def main() -> None:
    """Measure each number of trainings per job that is given."""
    with tempfile.TemporaryDirectory(prefix="cxs") as folder:
        cluster = Cluster(Path(folder) / "c")
        cluster.up()
        try:
            data = copy_workflow(Path(folder) / "data")
            (data / "config/proof.yaml").write_text(SHORT)
            (data / "profiles/slurm/site.yaml").write_text(SITE)
            make_here(data, "data")
            for per_job in map(int, sys.argv[1:]):
                study = Path(shutil.copytree(data, Path(folder) / f"study{per_job}"))
                print(f"{MODELS} models, {per_job} to a job: {measure(Login(cluster), study, per_job)}", flush=True)
        finally:
            cluster.down()


if __name__ == "__main__":
    main()
