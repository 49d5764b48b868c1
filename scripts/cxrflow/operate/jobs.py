"""What Snakemake would be called with, and the jobs that its dry run then prints: of plan, status and Slurm check.

A dry run needs neither the data nor torch, and takes no lock. With CXRFLOW_PLAN set, workflow/rules/plan.smk makes it
print every job with its files and resources.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxrflow.config.layout import ModelId
from cxrflow.config.loading import load_config, load_study, read_mapping
from cxrflow.config.study import Study
from cxrflow.errors import CxrflowError
from cxrflow.operate.slurm import parse_gpus, parse_minutes

CONFIGS = Path("config")
MANY_CORES = 100_000  # a dry run cuts the threads of a job to the cores it is given, and a cluster has enough
PLUGIN_FIRST_WAIT_S = 40.0  # of the Slurm plugin, where the profile says nothing
RULE = re.compile(r"(?:local)?(?:rule|checkpoint) (\w+):")
DETAIL = re.compile(r"    (\w+): (.*)")
HOURS_AND_MINUTES = re.compile(r"\d+:\d+")


@dataclass(frozen=True)
class Profile:
    """A Snakemake profile with the site file that it names."""

    path: Path  # of its config.yaml
    is_cluster: bool  # whether another executor than this machine runs the jobs
    limit_name: str  # what all running jobs share: `jobs` on a cluster, `cores` on one machine
    limit: int
    gpus: int | None = None  # that all running jobs share; None: the profile sets no limit
    configfile: Path | None = None  # of the study, where the profile names it
    site_file: Path | None = None  # with partitions and their limits
    partitions: dict[str, dict[str, float]] = field(default_factory=dict)  # limits by name; runtimes in minutes
    status_command: str = ""  # squeue, sacct, or empty where the Slurm plugin chooses
    first_wait_s: float = PLUGIN_FIRST_WAIT_S  # before the plugin first asks for the state of its jobs

    def partitions_for(self, *, needs_gpu: bool) -> list[str]:
        """Return the partitions that such jobs go to: those with GPUs, or those without, or all if each has GPUs."""
        fitting = [name for name, limits in self.partitions.items() if (limits.get("max_gpu", 0) > 0) == needs_gpu]
        return fitting if fitting or needs_gpu else list(self.partitions)


def read_profile(folder: Path, jobs: int | None = None) -> Profile:
    """Read a profile and its site file.

    Args:
        folder: of the profile.
        jobs: replaces its number of jobs on a cluster, or of cores here, as for Snakemake.

    Raises:
        CxrflowError: a file is missing or wrong, or the profile does not say how many jobs may run at once.
    """
    path = folder / "config.yaml"
    values = read_mapping(path)
    is_cluster = values.get("executor", "local") != "local"
    name = "jobs" if is_cluster else "cores"
    limit = jobs or values.get(name) or values.get("jobs")
    if limit is None:
        raise CxrflowError(f"{path} has no `{name}`: add it, or say --jobs N")
    site, configfile = values.get("slurm-partition-config"), values.get("configfile")
    gpus = (values.get("resources") or {}).get("gpu")
    return Profile(
        path=path,
        is_cluster=is_cluster,
        limit_name=name,
        limit=int(limit) if str(limit).isdecimal() else len(os.sched_getaffinity(0)),  # `all`
        gpus=None if gpus is None else int(gpus),
        configfile=Path(configfile) if configfile else None,
        site_file=Path(site) if site else None,
        partitions=read_partitions(Path(site)) if site else {},
        status_command=str(values.get("slurm-status-command") or ""),
        first_wait_s=float(values.get("slurm-init-seconds-before-status-checks", PLUGIN_FIRST_WAIT_S)),
    )


def has_gpu(profile: Profile | None = None) -> bool:
    """Return whether jobs whose device is `auto` will find a GPU: on any cluster, else if this machine has one."""
    is_cluster = profile.is_cluster if profile else shutil.which("sbatch") is not None
    return is_cluster or any(Path("/dev").glob("nvidia[0-9]*"))


def read_partitions(path: Path) -> dict[str, dict[str, float]]:
    """Read the partitions of a site file: {name: {limit: number}}, runtimes in minutes; other limits are left out.

    Raises:
        CxrflowError: it does not exist, has no `partitions`, or a `max_runtime` is not a time.
    """
    partitions = read_mapping(path).get("partitions")
    if not isinstance(partitions, dict) or not all(isinstance(limits or {}, dict) for limits in partitions.values()):
        raise CxrflowError(f"{path} lacks `partitions: {{name: {{limit: number}}}}`: compare it with the repository's")
    return {str(name): _read_limits(limits or {}, path) for name, limits in partitions.items()}


def _read_limits(limits: dict[str, Any], path: Path) -> dict[str, float]:
    """Read limits; of two numbers in a runtime the first is hours, as for the plugin (2.8, parse_time_to_minutes)."""
    numbers = {key: float(value) for key, value in limits.items() if type(value) in (int, float)}
    runtime = limits.get("max_runtime")
    if isinstance(runtime, str):
        try:
            numbers["max_runtime"] = parse_minutes(f"{runtime}:00" if HOURS_AND_MINUTES.fullmatch(runtime) else runtime)
        except CxrflowError as error:
            raise CxrflowError(f"{path}, max_runtime: {error}") from None
    return numbers


@dataclass(frozen=True)
class Call:
    """What Snakemake is called with."""

    configfile: Path  # of the study
    config: tuple[str, ...] = ()  # KEY=VALUE, which replace settings of the study
    profile: Path | None = None  # folder of the profile; None: none

    @property
    def words(self) -> list[str]:
        """The options of Snakemake, after which a target may stand."""
        profile = ["--profile", str(self.profile)] if self.profile else []
        return [*profile, *(["--config", *self.config] if self.config else []), f"--configfile={self.configfile}"]

    def load(self) -> Study:
        """Read and check the study.

        Raises:
            CxrflowError: the config does not exist, is wrong, or an override is not KEY=VALUE.
        """
        return load_study(load_config([self.configfile], self.config))


def choose_config(configfile: Path | None, study: str | None = None) -> Path:
    """Return the config file that is meant: the named one, or that of config/ whose study has this name.

    Raises:
        CxrflowError: neither is named, or no config has this study.
    """
    if configfile:
        return configfile
    if not study:
        raise CxrflowError("say which study is meant with --configfile=config/lungs.yaml")
    known = {str(read_mapping(path).get("study")): path for path in sorted(CONFIGS.glob("*.yaml"))}
    if study not in known:
        raise CxrflowError(f"no file in {CONFIGS}/ has the study {study!r}; known: {', '.join(known) or 'none'}")
    return known[study]


@dataclass(frozen=True)
class Job:
    """One job of a dry run; paths are relative to the working folder."""

    rule: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    log: str = ""
    wildcards: dict[str, str] = field(default_factory=dict)
    threads: int = 1
    resources: dict[str, int | str] = field(default_factory=dict)  # numbers as int (mem_mb, runtime in minutes, gpu)

    @property
    def title(self) -> str:
        """How a user finds it: the rule, and the model or the wildcards."""
        return " ".join([self.rule, *([self.model.path] if self.model else self.wildcards.values())])

    @property
    def model(self) -> ModelId | None:
        """The model that it works on; None: it belongs to the data or to all models."""
        parts = self.wildcards
        if "seed" not in parts:
            return None
        return ModelId(parts["dataset"], parts["backbone"], parts["init"], parts["variant"], int(parts["seed"]))

    @property
    def gpus(self) -> int:
        """How many GPUs it asks for, as `gpu=1` or as `gres=gpu:a100:1`."""
        return self.ask("gpu") or sum(parse_gpus(str(self.resources.get("gres", ""))).values())

    def ask(self, resource: str) -> int:
        """Return how much of a resource the job asks for; 0 where it does not."""
        value = self.resources.get(resource, 0)
        return value if isinstance(value, int) else 0


def dry_run(*options: str, folder: Path | None = None) -> list[Job]:
    """Return the jobs that Snakemake would run.

    Args:
        options: of Snakemake: targets first, then profile, configfile and so on.
        folder: to run it in; None: here.

    Raises:
        CxrflowError: the dry run failed; with its own message.
    """
    command = [sys.executable, "-m", "snakemake", *options, "--dry-run", "--rerun-incomplete", "--quiet", "host"]
    environment = {**os.environ, "CXRFLOW_PLAN": "1"}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if run.returncode != 0:  # a WorkflowError of a dry run goes to stdout, a wrong option to stderr
        raise CxrflowError(f"Snakemake cannot plan this:\n{(run.stdout + run.stderr).strip()}")
    return parse_jobs(run.stdout)


def parse_jobs(text: str) -> list[Job]:
    """Return the jobs that a dry run prints; rules without output only collect files and are left out."""
    blocks: list[tuple[str, dict[str, str]]] = []
    inside = False
    for line in text.splitlines():
        if start := RULE.fullmatch(line):
            blocks.append((start[1], {}))
            inside = True
        elif inside and (detail := DETAIL.fullmatch(line)):
            blocks[-1][1][detail[1]] = detail[2]
        else:
            inside = False
    return [_read_job(rule, details) for rule, details in blocks if "output" in details]


def _read_job(rule: str, details: dict[str, str]) -> Job:
    resources = _split_pairs(details.get("resources", ""))
    return Job(
        rule=rule,
        inputs=_split_list(details.get("input", "")),
        outputs=_split_list(details["output"]),
        log=details.get("log", ""),
        wildcards=_split_pairs(details.get("wildcards", "")),
        threads=int(details.get("threads", 1)),
        resources={
            name: int(value) if value.isdecimal() else value for name, value in resources.items() if value != "<TBD>"
        },
    )


def _split_list(text: str) -> tuple[str, ...]:
    return tuple(text.split(", ")) if text else ()


def _split_pairs(text: str) -> dict[str, str]:
    pairs = (item.partition("=") for item in _split_list(text))
    return {name: value for name, equals, value in pairs if equals}


def find_dependencies(jobs: Sequence[Job]) -> list[set[int]]:
    """Return, for each job, the places in `jobs` of those that make its inputs."""
    makers = {path: place for place, job in enumerate(jobs) for path in job.outputs}
    return [{makers[path] for path in job.inputs if path in makers} - {here} for here, job in enumerate(jobs)]
