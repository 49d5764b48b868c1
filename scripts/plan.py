"""Plan before you run: which jobs, how many hours of GPU and CPU, how long, how much disk, and how sure that is.

Reads what a Snakemake dry run prints, and the times in results/ of this and other studies; writes nothing. Neither the
data nor torch is needed. What was never measured gets no number.

    python scripts/plan.py --profile profiles/slurm --configfile config/lungs.yaml
    python scripts/plan.py --profile profiles/local --configfile config/quick.yaml --measured results/demo
"""

import argparse
import shutil
import sys
from pathlib import Path

from cxrflow.config.loading import load_config
from cxrflow.config.stages import leave_unread
from cxrflow.config.study import load_study
from cxrflow.errors import CxrflowError
from cxrflow.operate.dry_run import MANY_CORES, run_dry_run
from cxrflow.operate.estimate import Known
from cxrflow.operate.image_counts import count_all
from cxrflow.operate.measurements import find_studies, read_measurements
from cxrflow.operate.plan import make_plan
from cxrflow.operate.plan_text import describe_plan
from cxrflow.operate.run_profile import RunProfile, read_run_profile


def build_parser() -> argparse.ArgumentParser:
    """Build the parser: options as Snakemake names them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("targets", nargs="*", help="files or rules to plan for, before the options; none: the whole study")
    add("--profile", type=Path, required=True, help="folder of the Snakemake profile")
    add("--configfile", type=Path, nargs="+", default=[], help="the study; by default the one that the profile names")
    add(
        "--config",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="settings that replace those of the study, as for Snakemake: data_root=DIR, 'train={epochs: 3}'",
    )
    add("--jobs", type=int, help="jobs at once (on one machine: cores) instead of the profile's number")
    add("--resources", nargs="+", default=[], metavar="NAME=N", help="what all jobs together may take, such as gpu=1")
    add("--measured", type=Path, nargs="+", default=[], help="results/<study> to take times from; by default all")
    return parser


def plan_study(arguments: argparse.Namespace) -> str:
    """Return the plan as text.

    Raises:
        CxrflowError: the config, the profile or the dry run is wrong.
    """
    profile = read_run_profile(arguments.profile, arguments.jobs, arguments.resources)
    study = load_study(load_config(arguments.configfile or profile.configfiles, arguments.config))
    measured = read_measurements(find_studies(arguments.measured, Path(study.results)))
    jobs, warnings = run_dry_run(snakemake_arguments(arguments, profile), arguments.targets)
    if warnings:
        print(warnings, file=sys.stderr)
    datasets = {job.wildcards["dataset"] for job in jobs if "dataset" in job.wildcards}
    counts = count_all(study, [name for name in study.settings.datasets if name in datasets])
    return describe_plan(make_plan(jobs, profile, Known(study, measured, counts)), shutil.disk_usage(".").free)


def snakemake_arguments(arguments: argparse.Namespace, profile: RunProfile) -> list[str]:
    """Return what the dry run is called with: the same profile and study, and the cores that the jobs will have."""
    cores = MANY_CORES if profile.is_cluster else profile.limits["cores"]
    values = ["--profile", arguments.profile, "--cores", cores]
    values += ["--configfile", *arguments.configfile] if arguments.configfile else []
    values += ["--config", *arguments.config] if arguments.config else []
    return [str(value) for value in values]


if __name__ == "__main__":
    try:
        print(plan_study(build_parser().parse_args()), flush=True)
    except CxrflowError as error:
        sys.exit(f"error: {error}")
    except BrokenPipeError:
        leave_unread()
