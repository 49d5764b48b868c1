"""What Snakemake would be called with, and the jobs that its dry run then prints: of plan, status and Slurm check.

A dry run needs neither the data nor torch, and takes no lock. With CXRFLOW_PLAN set, workflow/rules/plan.smk makes it
print every job with its files and resources.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxrflow.config.layout import ModelId
from cxrflow.config.loading import load_config, load_study, read_mapping
from cxrflow.config.study import Study
from cxrflow.errors import CxrflowError
from cxrflow.operate.slurm import parse_gpus

CONFIGS = Path("config")
MANY_CORES = 100_000  # a dry run cuts the threads of a job to the cores it is given, and a cluster has enough
PLUGIN_FIRST_WAIT_S = 40.0  # of the Slurm plugin, where the profile says nothing
RULE = re.compile(r"(?:local)?(?:rule|checkpoint) (\w+):")
DETAIL = re.compile(r"    (\w+): (.*)")
# A limit of the site file, and how much of it a job takes.
LIMITS: dict[str, Callable[["Job"], float]] = {
    "max_runtime": lambda job: job.ask("runtime"),
    "max_threads": lambda job: job.threads,
    "max_mem_mb": lambda job: job.ask("mem_mb"),
    "max_gpu": lambda job: job.gpus,
}


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
    partitions: Sequence[Any] = ()  # as the Slurm plugin reads them: `name`, `limits`, `score_job_fit(job)`
    status_command: str = ""  # squeue, sacct, or empty where the Slurm plugin chooses
    first_wait_s: float = PLUGIN_FIRST_WAIT_S  # before the plugin first asks for the state of its jobs

    def partition_of(self, job: "Job") -> str:
        """Return the partition that the Slurm plugin submits a job to; empty: no site file names any.

        Raises:
            CxrflowError: none takes it, and the plugin would fall back to the cluster's default one; or it cannot read
                what the job asks for.
        """
        try:
            scores = {each.name: each.score_job_fit(job) for each in self.partitions}
        except Exception as error:  # a number that is none, gpu and gres together
            raise CxrflowError(f"the Slurm plugin cannot read what {job.rule} asks for: {error}") from None
        fitting = {name: score for name, score in scores.items() if score is not None}
        if named := job.resources.get("slurm_partition") or max(fitting, key=fitting.__getitem__, default=""):
            return str(named)
        if not scores:
            return ""
        why = []
        for each in self.partitions:
            limits = {key: getattr(each.limits, key) for key in LIMITS}
            lacks = [f"{key} {limits[key]:g} for {ask(job):g}" for key, ask in LIMITS.items() if ask(job) > limits[key]]
            why.append(f"{each.name} has {', '.join(lacks) or 'no such GPU model, constraint or cluster'}")
        raise CxrflowError(f"no partition of {self.site_file} takes {job.rule}: {'; '.join(why)}")


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
    resources = values.get("resources") or {}
    if isinstance(resources, list):  # Snakemake takes both forms
        resources = dict(each.partition("=")[::2] for each in resources)
    gpus = resources.get("gpu")
    return Profile(
        path=path,
        is_cluster=is_cluster,
        limit_name=name,
        limit=int(limit) if str(limit).isdecimal() else len(os.sched_getaffinity(0)),  # `all`
        gpus=None if gpus is None else int(gpus),
        configfile=Path(configfile) if configfile else None,
        site_file=Path(site) if site else None,
        partitions=read_partitions(Path(site)) if site else (),
        status_command=str(values.get("slurm-status-command") or ""),
        first_wait_s=float(values.get("slurm-init-seconds-before-status-checks", PLUGIN_FIRST_WAIT_S)),
    )


def has_gpu(profile: Profile | None = None) -> bool:
    """Return whether jobs whose device is `auto` will find a GPU: on any cluster, else if this machine has one."""
    is_cluster = profile.is_cluster if profile else shutil.which("sbatch") is not None
    return is_cluster or any(Path("/dev").glob("nvidia[0-9]*"))


def read_partitions(path: Path) -> list[Any]:
    """Read the partitions of a site file with the Slurm plugin's own reader, which decides where jobs go.

    Raises:
        CxrflowError: the plugin would refuse the file.
    """
    from snakemake_executor_plugin_slurm.partitions import read_partition_file  # 0.4 s, for clusters alone

    try:
        return list(read_partition_file(path))
    except Exception as error:  # whatever it meets first: a limit it does not know, a partition without any
        raise CxrflowError(
            f"{path}: the Slurm plugin cannot read its partitions ({error}): compare them with the repository's, as in"
            " `gpu: {max_runtime: 1d, max_gpu: 4}`"
        ) from None


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


def choose_config(configfile: Path | None, study: str | None = None, others: Iterable[Path] = ()) -> Path:
    """Return the config file that is meant: the named one, or the one of config/ or of `others` with this study.

    Raises:
        CxrflowError: neither is named, or none has this study.
    """
    if not study:
        if configfile:
            return configfile
        raise CxrflowError("say which study is meant with --configfile=config/lungs.yaml")
    paths = [configfile] if configfile else [*filter(Path.is_file, others), *sorted(CONFIGS.glob("*.yaml"))]
    known: dict[str, dict[Path, Path]] = {}
    for path in paths:
        known.setdefault(str(read_mapping(path).get("study")), {})[path.resolve()] = path
    if study not in known:
        where = configfile or f"{CONFIGS}/, and no config of the last runs here,"
        raise CxrflowError(f"no file in {where} has the study {study!r}; known: {', '.join(known) or 'none'}")
    if len(found := list(known[study].values())) > 1:
        names = " and ".join(map(str, found))
        raise CxrflowError(f"the study {study!r} is in {names}: say which is meant with --configfile=")
    return found[0]


@dataclass(frozen=True)
class Job:
    """One job of a dry run; paths are relative to the working folder."""

    rule: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    log: str = ""
    reason: str = ""  # why it would run, in Snakemake's words
    wildcards: dict[str, str] = field(default_factory=dict)
    threads: int = 1
    resources: dict[str, int | str] = field(default_factory=dict)  # numbers as int (mem_mb, runtime in minutes, gpu)
    members: tuple["Job", ...] = ()  # of a job that runs several, one after another (compute.trainings_per_job)
    shared: str = ""  # the name, but for its rules, of the Slurm job that it may be a member of

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
    return [
        Job(
            rule=rule,
            inputs=_split_list(details.get("input", "")),
            outputs=_split_list(details["output"].replace(" (update)", "")),  # of a file that is written on, no new one
            log=details.get("log", ""),
            reason=details.get("reason", ""),
            wildcards=_split_pairs(details.get("wildcards", "")),
            threads=int(details.get("threads", 1)),
            resources={
                name: int(value) if value.isdecimal() else value
                for name, value in _split_pairs(details.get("resources", "")).items()
                if value != "<TBD>"
            },
        )
        for rule, details in blocks
        if "output" in details
    ]


def _split_list(text: str) -> tuple[str, ...]:
    return tuple(text.split(", ")) if text else ()


def _split_pairs(text: str) -> dict[str, str]:
    pairs = (item.partition("=") for item in _split_list(text))
    return {name: value for name, equals, value in pairs if equals}


def find_dependencies(jobs: Sequence[Job]) -> list[set[int]]:
    """Return, for each job, the places in `jobs` of those that make its inputs."""
    makers = {path: place for place, job in enumerate(jobs) for path in job.outputs}
    return [{makers[path] for path in job.inputs if path in makers} - {here} for here, job in enumerate(jobs)]
