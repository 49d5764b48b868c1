"""Whether a Slurm job got what was asked for, looked at before a network is: GPUs, cores, disk, clock.

It can only stop a job, and never changes a result.
"""

import os
import platform
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from cxrflow.errors import CxrflowError

REMOTE = "CXRFLOW_REMOTE"  # workflow/rules/common.smk sets it in a job that Snakemake submitted
VISIBLE = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")  # as Slurm sets them, by maker
LEAST_FREE_BYTES = 350_000_000  # a checkpoint of ResNet-34: weights, Adam's two moments and the best weights, float32
MOST_SKEW_S = 60.0  # the profile's latency-wait
SITE = "profiles/slurm/site.yaml"
PROFILE = "profiles/slurm/config.yaml"


def check_allocation(gpus: int, threads: int, folders: Sequence[Path]) -> None:
    """Compare what this process sees with what was asked for; only in a Slurm job that Snakemake submitted.

    Args:
        gpus: that a job of this stage asks for; 0: it computes on the CPU.
        threads: CPU threads that it starts.
        folders: that it writes into.

    Raises:
        CxrflowError: there is less, or the clock is wrong; with the line to change.
    """
    if REMOTE not in os.environ or "SLURM_JOB_ID" not in os.environ:
        return
    here = f"on {platform.node()}, job {os.environ['SLURM_JOB_ID']}"
    visible = count_visible_gpus()
    if visible is not None and visible < gpus:
        raise CxrflowError(
            f"{gpus} GPU(s) belong to this job and {visible} are visible {here}: correct the line `gpu:` in {SITE}"
            " (`make site` finds the form that the cluster takes); without GPUs, add --config 'compute={device: cpu}'"
        )
    cores = len(os.sched_getaffinity(0))
    if cores < threads:
        raise CxrflowError(
            f"{threads} threads are to compute and {cores} cores are allowed {here}: set this rule to {cores} in"
            f" set-threads of {PROFILE}, or ask the cluster's support why the job gets fewer than it asked for"
        )
    for folder in filter(Path.is_dir, dict.fromkeys(folders)):
        check_folder(folder, here)


def count_visible_gpus() -> int | None:
    """Return how many GPUs Slurm lets this process see; None where it does not say, and PyTorch has to look."""
    named = next((os.environ[name] for name in VISIBLE if name in os.environ), None)
    if named is None:
        return None
    return len([part for part in named.split(",") if part.strip() not in ("", "-1", "NoDevFiles")])


def check_folder(folder: Path, here: str) -> None:
    """Check that a folder has room, and that its file system's clock is this machine's.

    Raises:
        CxrflowError: it has not, or it is not.
    """
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE_BYTES:
        raise CxrflowError(
            f"{folder} has {free / 1e6:.0f} MB free {here}, and a checkpoint may need {LEAST_FREE_BYTES / 1e6:.0f}:"
            " free space there, or link results/ to a larger disk, and run the same command again"
        )
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".clock") as probe:
        skew_s = time.time() - os.stat(probe.name).st_mtime
    if abs(skew_s) > MOST_SKEW_S:
        raise CxrflowError(
            f"the clock {here} is {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} that of {folder}, and"
            " Snakemake would repeat finished work: tell the cluster's support, and leave the node out meanwhile with"
            f" --slurm-exclude-failed-nodes {platform.node()}"
        )
