"""Tell in seconds, before any job, what a Slurm cluster and this folder lack for a study.

Reads the profile, its partition file and what Slurm says of itself; submits and writes nothing. Prints one line per
finding, OK, note or PROBLEM, with the remedy; ends with status 1 if there is a problem.

    python scripts/slurm_check.py --profile profiles/slurm --configfile config/lungs.yaml
"""

import sys
from pathlib import Path

from cxrflow.config.stages import run_stage
from cxrflow.errors import CxrflowError
from cxrflow.operate import slurm
from cxrflow.operate.check_folder import check_folder, exit_status
from cxrflow.operate.checking import Finding, check_cluster
from cxrflow.operate.choosing import read_study
from cxrflow.operate.cluster_profile import read_cluster_profile


def check_slurm(
    *,
    profile: Path = Path("profiles/slurm"),
    configfile: Path = Path("config/lungs.yaml"),
    config: list[str] | None = None,
) -> None:
    """Print what is ready and what is missing.

    profile: folder of the Snakemake profile
    configfile: the study's config
    config: settings that replace those of the study, as for Snakemake: data_root=DIR,
        'train={epochs: 3}'
    """
    study = read_study(configfile, config or ())
    try:
        wanted = read_cluster_profile(profile, study.settings.compute.requested_gpus)
        findings, wants_gpu = check_cluster(wanted), any(request.gpus for request in wanted.requests)
    except CxrflowError as error:
        findings, wants_gpu = [Finding("PROBLEM", str(error))], False
    findings += check_folder(study, Path.cwd(), n_nodes=count_nodes(), wants_gpu=wants_gpu)
    report(findings)
    sys.exit(exit_status(findings))


def count_nodes() -> int | None:
    """Return the largest number of nodes of a partition; None: Slurm does not say."""
    try:
        groups = slurm.list_partitions()
    except CxrflowError:
        return None
    by_name: dict[str, int] = {}
    for group in groups:
        by_name[group.partition] = by_name.get(group.partition, 0) + group.n_nodes
    return max(by_name.values(), default=None)


def report(findings: list[Finding]) -> None:
    """Print the findings, and how many are problems."""
    for finding in findings:
        print(finding)
    problems = sum(finding.level == "PROBLEM" for finding in findings)
    print(f"\nproblems: {problems}" if problems else "\nno problem found")


if __name__ == "__main__":
    run_stage(check_slurm)
