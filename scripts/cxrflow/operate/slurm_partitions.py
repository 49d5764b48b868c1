"""The partition file of Snakemake's Slurm plugin (`slurm-partition-config` of a profile): names and limits."""

import re
from pathlib import Path
from typing import Any

from cxrflow.config.slurm_forms import parse_minutes
from cxrflow.config.yaml_files import read_mapping
from cxrflow.errors import CxrflowError

HOURS_AND_MINUTES = re.compile(r"\d+:\d+")


def read_partitions(path: Path) -> dict[str, dict[str, float]]:
    """Read a partition file: {name: {limit: number}}, runtimes in minutes; limits that are no numbers are left out.

    Raises:
        CxrflowError: it is not there, has no `partitions`, or a `max_runtime` is no time.
    """
    partitions = _as_mapping(read_mapping(path).get("partitions"), path)
    return {str(name): _read_limits(_as_mapping(limits or {}, path), path) for name, limits in partitions.items()}


def _read_limits(limits: dict[str, Any], path: Path) -> dict[str, float]:
    numbers = {key: float(value) for key, value in limits.items() if type(value) in (int, float)}
    runtime = limits.get("max_runtime")
    return numbers | ({"max_runtime": _read_runtime(runtime, path)} if isinstance(runtime, str) else {})


def _read_runtime(text: str, path: Path) -> float:
    """Return minutes as the plugin does (2.8, parse_time_to_minutes): to it two numbers are hours and minutes."""
    try:
        return parse_minutes(f"{text}:00" if HOURS_AND_MINUTES.fullmatch(text) else text)
    except CxrflowError as error:
        raise CxrflowError(f"{path}, max_runtime: {error}") from None


def _as_mapping(value: Any, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise CxrflowError(f"{path} has no mapping where one is expected: compare it with the one in the repository")
    return value
