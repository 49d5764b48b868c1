"""Plan before you run: which jobs, how many hours of GPU and CPU, how long, how much disk, and how that is known.

Reads what a Snakemake dry run prints, and the times in results/; neither the data nor torch is needed. What was never
measured on the kind of device that will compute gets no number: --measure runs the short jobs that measure it.

    python scripts/plan.py --profile profiles/slurm --configfile=config/lungs.yaml
    python scripts/plan.py --profile profiles/slurm --configfile=config/lungs.yaml --measure
"""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from cxrflow.config.stages import run_stage
from cxrflow.errors import CxrflowError
from cxrflow.operate.estimates import Estimator
from cxrflow.operate.jobs import MANY_CORES, Call, choose_config, dry_run, has_gpu, read_profile
from cxrflow.operate.planning import Plan, describe_plan


def plan_study(
    *,
    profile: Path,
    configfile: Path | None = None,
    config: list[str] | None = None,
    targets: list[str] | None = None,
    jobs: int | None = None,
    measure: bool = False,
) -> None:
    """Print the plan of a study.

    profile: folder of the Snakemake profile
    configfile: the study's config; by default the one that the profile names
    config: settings that replace those of the study, as for Snakemake: data_root=DIR, 'train={epochs: 3}'
    targets: files or rules to plan for; without it the whole study
    jobs: jobs at once (on one machine: cores) instead of the profile's number
    measure: first run profile_backbone, one short job for each backbone whose images/s are unknown
    """
    found = read_profile(profile, jobs)
    call = Call(choose_config(configfile or found.configfile), tuple(config or ()), profile)
    study = call.load()
    print(*(f"data: {line}" for line in study.missing_data()), sep="\n", file=sys.stderr)
    cores = ["--cores", str(MANY_CORES if found.is_cluster else found.limit)]
    asked = dry_run(*(targets or []), *call.words, *cores)

    def make_plan() -> Plan:
        return Plan(asked, found, Estimator(study, has_gpu=has_gpu(found)))

    plan = make_plan()
    if measure and plan.lacking_rates():
        files = [str(study.layout.backbone(name)) for name in plan.lacking_rates()]
        command = ["snakemake", *files, "--force", *call.words]
        print(f"{shlex.join(command)}\n", flush=True)
        if subprocess.run([sys.executable, "-m", *command], check=False).returncode:
            raise CxrflowError("the measurement failed: what Snakemake printed above says why")
        plan = make_plan()
    again = shlex.join(["python", "scripts/plan.py", *call.words, "--measure"])
    print(describe_plan(plan, shutil.disk_usage(".").free, again))


if __name__ == "__main__":
    run_stage(plan_study)
