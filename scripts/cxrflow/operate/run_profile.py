"""A Snakemake profile, as far as it decides how many jobs run at once and where.

Reads <profile>/config.yaml and the partition file that it names.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cxrflow.config.yaml_files import read_mapping
from cxrflow.errors import CxrflowError
from cxrflow.operate.dry_run import Job
from cxrflow.operate.slurm_partitions import read_partitions

LOCAL = "local"  # in place of a partition
# A partition's limits by what a job asks for: those that the Slurm plugin compares, under the same names.
LIMITED = {"runtime": "max_runtime", "mem_mb": "max_mem_mb"}


@dataclass(frozen=True)
class RunProfile:
    """Where and how many.

    Attributes:
        folder: of the profile.
        is_cluster: whether an executor other than this machine runs the jobs.
        limits: what all running jobs together may take: `jobs` on a cluster, `cores` here, and the profile's resources.
        configfiles: the study's config, where the profile names it.
        partitions: limits of each partition by name.
    """

    folder: Path
    is_cluster: bool
    limits: dict[str, int]
    configfiles: list[Path] = field(default_factory=list)
    partitions: dict[str, dict[str, float]] = field(default_factory=dict)

    def needs_of(self, job: Job) -> dict[str, int]:
        """Return what a job takes of the limits while it runs."""
        own = {"jobs": 1, "cores": job.threads}
        return {name: own.get(name, job.ask(name)) for name in self.limits}

    def as_run(self, job: Job) -> Job:
        """Return a job with what it asks for here.

        One machine hands out GPUs only where its profile says how many there are; of a cluster, a job that runs where
        Snakemake does asks for nothing.
        """
        if self.is_cluster and job.is_local:
            return replace(job, resources={})
        if self.is_cluster or "gpu" in self.limits:
            return job
        return replace(job, resources={name: value for name, value in job.resources.items() if name != "gpu"})


def read_run_profile(folder: Path, jobs: int | None = None, resources: Sequence[str] = ()) -> RunProfile:
    """Read a profile.

    Args:
        folder: of the profile.
        jobs: replaces its number of jobs on a cluster, or of cores here, as it does for Snakemake.
        resources: NAME=N, replace the profile's.

    Raises:
        CxrflowError: it is no profile, says not how many jobs may run at once, or a resource is no number.
    """
    values = read_mapping(folder / "config.yaml")
    is_cluster = values.get("executor", "local") != "local"
    name = "jobs" if is_cluster else "cores"
    limit = jobs or values.get(name) or values.get("jobs")
    if limit is None:
        raise CxrflowError(f"{folder / 'config.yaml'} has no `{name}`: add it, or say --jobs N")
    most = {**(values.get("resources") or {}), **dict(map(_split_resource, resources))}
    partition_file = values.get("slurm-partition-config")
    configfiles = values.get("configfile", [])
    return RunProfile(
        folder=folder,
        is_cluster=is_cluster,
        limits={name: _count(limit), **{key: int(value) for key, value in most.items()}},
        configfiles=[Path(path) for path in ([configfiles] if isinstance(configfiles, str) else configfiles)],
        partitions=read_partitions(Path(partition_file)) if partition_file else {},
    )


def _split_resource(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not value.isdigit():
        raise CxrflowError(f"--resources {text}: expected NAME=N, as in gpu=1")
    return name, value


def _count(limit: int | str) -> int:
    """Return a number of jobs or cores; `all` is every core that this process may use."""
    if str(limit).isdigit():
        return int(limit)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_partition(job: Job, partitions: Mapping[str, Mapping[str, float]]) -> str:
    """Return the partition that the Slurm plugin chooses: of those that allow the job, the one that it fills most.

    Source: snakemake-executor-plugin-slurm 2.8.0, Partition.score_job_fit, as far as its limits are numbers here.
    Returns `local` where it runs beside Snakemake instead, `none fits` where no partition allows it, and nothing where
    there are no partitions.
    """
    if job.is_local and partitions:
        return LOCAL
    if "slurm_partition" in job.resources:
        return str(job.resources["slurm_partition"])
    scores = {name: _score(job, limits) for name, limits in partitions.items()}
    fitting = {name: score for name, score in scores.items() if score is not None}
    if not fitting:
        return "none fits" if partitions else ""
    return max(fitting, key=lambda name: fitting[name])


def _score(job: Job, limits: Mapping[str, float]) -> float | None:
    """Return how much of a partition's limits a job fills, or None where it does not fit."""
    gpus, max_gpu = job.gpus, int(limits.get("max_gpu", 0))
    shares = [job.ask(asked) / limits.get(limit, math.inf) for asked, limit in LIMITED.items()]
    shares += [job.threads / limits.get("max_threads", math.inf)] * 2  # the plugin counts threads twice
    if any(share > 1 for share in shares) or gpus > max_gpu:
        return None
    return sum(shares) + (gpus / max_gpu if gpus else -1.0 if max_gpu else 0.0)
