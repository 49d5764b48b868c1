"""What a Snakemake profile asks of a cluster: its partitions, its rules' resources, how it looks at jobs."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrflow.config.slurm_forms import parse_gpus, parse_minutes
from cxrflow.config.yaml_files import read_mapping
from cxrflow.errors import CxrflowError
from cxrflow.operate.slurm_partitions import read_partitions

PLUGIN_FIRST_WAIT_S = 40.0  # of the Slurm plugin, where the profile says nothing
DEFAULT_RULE = "other rules"
QUANTITY = re.compile(r"(?:min\()?(?P<base>\d+(?:\.\d+)?)(?P<grows>\s*\*\s*attempt)?(?:,\s*(?P<most>\d+(?:\.\d+)?)\))?")
# Key of the partition file -> what a job asks with.
ASKS = {"max_runtime": "runtime_minutes", "max_threads": "threads", "max_mem_mb": "mem_mb"}


@dataclass(frozen=True)
class Quantity:
    """A resource that may grow with the attempt, up to a most: `480 * attempt`, `min(480 * attempt, 1440)`."""

    base: float
    grows: bool = False
    most: float = math.inf

    def at(self, attempt: int) -> float:
        """Return it for an attempt, from 1."""
        return min(self.base * attempt if self.grows else self.base, self.most)


@dataclass(frozen=True)
class Request:
    """What the jobs of one rule ask for; None: nothing, or something that only Snakemake can work out."""

    rule: str
    gpus: int = 0
    threads: Quantity | None = None
    mem_mb: Quantity | None = None
    runtime_minutes: Quantity | None = None

    def first_attempt_above(self, key: str, limit: float, attempts: int) -> int | None:
        """Return the first attempt that asks for more than a limit of the partition file; None: none does."""
        asked: Quantity | None = getattr(self, ASKS[key])
        if asked is None:
            return None
        return next((attempt for attempt in range(1, attempts + 1) if asked.at(attempt) > limit), None)


@dataclass(frozen=True)
class ClusterProfile:
    """A profile, read.

    Attributes:
        path: of its config.yaml.
        partition_file: it names; None: none.
        partitions: {name: {limit: number}} of that file; runtimes in minutes.
        requests: by rule.
        attempts: of each job, the first one included.
        account: it charges; empty: the user's default.
        status_command: squeue, sacct, or empty where the plugin chooses.
        first_wait_s: before the plugin first looks at jobs.
    """

    path: Path
    partition_file: Path | None
    partitions: Mapping[str, Mapping[str, float]]
    requests: tuple[Request, ...]
    attempts: int
    account: str
    status_command: str
    first_wait_s: float

    @property
    def site_file(self) -> Path:
        """The file in which a user says what differs between clusters."""
        return self.partition_file or self.path

    def partitions_for(self, *, needs_gpu: bool) -> list[str]:
        """Return the partitions that such jobs go to: those with GPUs, or those without, or all if each has GPUs."""
        fitting = [name for name, limits in self.partitions.items() if (limits.get("max_gpu", 0) > 0) == needs_gpu]
        return fitting if fitting or needs_gpu else list(self.partitions)


def read_cluster_profile(folder: Path, train_gpus: int = 1) -> ClusterProfile:
    """Read a profile's config.yaml and the partition file that it names.

    Args:
        folder: of the profile.
        train_gpus: that a training asks for where the profile does not say (compute.requested_gpus).

    Raises:
        CxrflowError: one of them is not there or is no such file.
    """
    path = folder / "config.yaml"
    content = read_mapping(path)
    file = content.get("slurm-partition-config")
    default = _as_resources(content.get("default-resources"))
    return ClusterProfile(
        path=path,
        partition_file=Path(file) if file else None,
        partitions=read_partitions(Path(file)) if file else {},
        requests=tuple(_read_requests(content, default, {"train": {"gpu": train_gpus}})),
        attempts=int(content.get("retries", 0)) + 1,
        account=str(default.get("slurm_account") or "").strip("'\""),
        status_command=str(content.get("slurm-status-command") or ""),
        first_wait_s=float(content.get("slurm-init-seconds-before-status-checks", PLUGIN_FIRST_WAIT_S)),
    )


def _as_resources(value: Any) -> dict[str, Any]:
    """Return resources as a mapping: a profile may also write them as a list of `name=value`."""
    if isinstance(value, dict):
        return value
    entries: Iterable[str] = value or []
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def _read_requests(
    content: Mapping[str, Any], default: Mapping[str, Any], of_rules: Mapping[str, Mapping[str, Any]]
) -> Iterable[Request]:
    """Read what each rule that the profile names asks for, and what all others do; `of_rules`: what a rule says."""
    threads, resources = content.get("set-threads") or {}, content.get("set-resources") or {}
    for rule in [*dict.fromkeys([*threads, *resources]), DEFAULT_RULE]:
        own = {**default, **of_rules.get(rule, {}), **_as_resources(resources.get(rule))}
        yield Request(
            rule=rule,
            gpus=_count_gpus(own),
            threads=parse_quantity(threads.get(rule)),
            mem_mb=parse_quantity(own.get("mem_mb")),
            runtime_minutes=parse_runtime(own.get("runtime")),
        )


def parse_quantity(value: Any) -> Quantity | None:
    """Read a number, or a number times the attempt, with or without a most; None: only Snakemake can work it out."""
    match = QUANTITY.fullmatch(str(value).strip())
    return Quantity(float(match["base"]), bool(match["grows"]), float(match["most"] or math.inf)) if match else None


def parse_runtime(value: Any) -> Quantity | None:
    """Read a runtime: as any quantity, in minutes, or as a time such as `12h`."""
    try:
        return parse_quantity(value) or Quantity(parse_minutes(str(value)))
    except CxrflowError:
        return None


def _count_gpus(resources: Mapping[str, Any]) -> int:
    """Return how many GPUs a job asks for, as `gpu: 1` or as `gres: "gpu:a100:1"`; `gpu` alone is one."""
    asked = parse_quantity(resources.get("gpu"))
    if asked and asked.base:
        return int(asked.base)
    return sum(parse_gpus(str(resources.get("gres", ""))).values())
