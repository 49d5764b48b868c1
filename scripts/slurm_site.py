"""Write what this Slurm cluster is like into the profile's site file: account, GPUs, partitions with their limits.

Reads what sinfo, sacctmgr and `sbatch --test-only` say; submits nothing. Says what it chose and why, and shows what it
changes: values that a person changed, and lines that a person added, stay. A partition that is commented out stays out.

    python scripts/slurm_site.py --profile profiles/slurm
"""

import difflib
from pathlib import Path

from cxrflow.config.stages import run_stage
from cxrflow.files.atomic import write_text
from cxrflow.operate.jobs import read_profile
from cxrflow.operate.site_file import describe_cluster, merge_site


def write_site(*, profile: Path = Path("profiles/slurm")) -> None:
    """Bring the profile's site file up to date.

    profile: folder of the Snakemake profile
    """
    site_file = read_profile(profile).site_file or profile / "site.yaml"
    wanted, findings = describe_cluster()
    print(*findings, sep="\n")
    old = site_file.read_text(encoding="utf-8")
    new = merge_site(old, wanted)
    names = (f"{site_file} before", str(site_file))
    print("", *difflib.unified_diff(old.splitlines(), new.splitlines(), *names, lineterm=""), sep="\n")
    if new == old:
        print(f"{site_file} says so already")
    else:
        write_text(site_file, new)


if __name__ == "__main__":
    run_stage(write_site)
