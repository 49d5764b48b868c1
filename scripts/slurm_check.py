"""Say in seconds, before any job, what a Slurm cluster and this folder lack for a study.

Reads the profile, its site file, what the jobs of a dry run ask for and what Slurm says of itself; submits and writes
nothing. Prints one line per finding, OK, note or PROBLEM, with the remedy; ends with status 1 if there is a problem.

    python scripts/slurm_check.py --profile profiles/slurm --configfile=config/lungs.yaml
"""

import sys
from pathlib import Path

from cxrflow.config.stages import run_stage
from cxrflow.errors import CxrflowError
from cxrflow.operate.cluster_checks import Finding, check_cluster
from cxrflow.operate.folder_checks import check_folder
from cxrflow.operate.jobs import MANY_CORES, Call, dry_run, read_profile


def check_slurm(
    *,
    profile: Path = Path("profiles/slurm"),
    configfile: Path = Path("config/lungs.yaml"),
    config: list[str] | None = None,
) -> None:
    """Print what is ready and what is missing.

    profile: folder of the Snakemake profile
    configfile: the study's config
    config: settings that replace those of the study, as for Snakemake: data_root=DIR, 'train={epochs: 3}'
    """
    call = Call(configfile, tuple(config or ()), profile)
    study = call.load()
    try:
        found = read_profile(profile)  # first: what is wrong with a site file is said best by its reader
        jobs = dry_run("--forceall", *call.words, "--cores", str(MANY_CORES))
        findings, n_nodes = check_cluster(found, jobs)
    except CxrflowError as error:
        jobs, findings, n_nodes = [], [Finding("PROBLEM", str(error))], None
    findings += check_folder(study, jobs, n_nodes)
    print(*findings, sep="\n")
    problems = sum(finding.level == "PROBLEM" for finding in findings)
    print(f"\nproblems: {problems}" if problems else "\nno problem found")
    sys.exit(problems > 0)


if __name__ == "__main__":
    run_stage(check_slurm)
