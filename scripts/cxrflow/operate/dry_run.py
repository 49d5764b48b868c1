"""What Snakemake would run: a dry run in a process of its own, and the jobs that it prints.

A dry run needs neither the data nor torch. With CXRFLOW_PLAN set, workflow/rules/plan.smk makes it print every job with
its files and resources. Reads no file; scripts/plan.py prints what follows from the jobs.
"""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from cxrflow.config.slurm_forms import parse_gpus
from cxrflow.errors import CxrflowError

MANY_CORES = 100_000  # a dry run cuts the threads of a job to the cores it is given, and a cluster has enough
RULE = re.compile(r"(?:local)?(?:rule|checkpoint) (\w+):")
LOCAL_RULES = re.compile(r"^local rules: (.*)$", re.MULTILINE)
DETAIL = re.compile(r"    (\w+): (.*)")


@dataclass(frozen=True)
class Job:
    """One job of a dry run.

    Attributes:
        jobid: Snakemake's number of it.
        rule: the rule's name.
        inputs, outputs: paths relative to the repository.
        wildcards: what the rule's wildcards stand for.
        threads: that it claims.
        priority: ready jobs of a higher one start first.
        resources: what it asks for: numbers as int (mem_mb, runtime in minutes, gpu), the rest as text.
        is_local: whether it runs where Snakemake does, on a cluster too.
    """

    jobid: int
    rule: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    wildcards: dict[str, str] = field(default_factory=dict)
    threads: int = 1
    priority: int = 0
    resources: dict[str, int | str] = field(default_factory=dict)
    is_local: bool = False

    @property
    def title(self) -> str:
        """The rule and what its wildcards stand for."""
        return " ".join([self.rule, *self.wildcards.values()])

    @property
    def gpus(self) -> int:
        """How many GPUs it asks for, as `gpu=1` or as `gres=gpu:a100:1`."""
        return self.ask("gpu") or sum(parse_gpus(str(self.resources.get("gres", ""))).values())

    def ask(self, resource: str) -> int:
        """Return how much of a resource the job asks for; 0 where it does not."""
        value = self.resources.get(resource, 0)
        return value if isinstance(value, int) else 0


def run_dry_run(arguments: Sequence[str], targets: Sequence[str] = ()) -> tuple[list[Job], str]:
    """Ask Snakemake what it would run; return the jobs that do something, and the warnings about missing data.

    Args:
        arguments: of Snakemake: profile, configfile and so on.
        targets: files or rules; none: the default target.

    Raises:
        CxrflowError: the dry run failed; with its own message.
    """
    command = [sys.executable, "-m", "snakemake", *targets, "--dry-run", "--quiet", "host", *arguments]
    environment = {**os.environ, "CXRFLOW_PLAN": "1"}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if run.returncode != 0:  # a WorkflowError of a dry run goes to stdout, a wrong option to stderr
        raise CxrflowError(f"Snakemake cannot plan this:\n{(run.stdout + run.stderr).strip()}")
    return parse_jobs(run.stdout), "\n".join(line for line in run.stderr.splitlines() if line.startswith("data: "))


def parse_jobs(text: str) -> list[Job]:
    """Return the jobs that a dry run prints, by number; rules without output only collect files and are left out."""
    local = {rule for names in LOCAL_RULES.findall(text) for rule in names.split(", ")}
    jobs = [_read_job(rule, details, rule in local) for rule, details in _job_blocks(text)]
    return sorted((job for job in jobs if job.outputs), key=lambda job: job.jobid)


def _job_blocks(text: str) -> list[tuple[str, dict[str, str]]]:
    """Return (rule, {detail: text}) of every job printed."""
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
    return blocks


def _read_job(rule: str, details: dict[str, str], is_local: bool) -> Job:
    return Job(
        jobid=int(details["jobid"]),
        rule=rule,
        inputs=_split_list(details.get("input", "")),
        outputs=_split_list(details.get("output", "")),
        wildcards=dict(_split_pairs(details.get("wildcards", ""))),
        threads=int(details.get("threads", 1)),
        priority=int(details.get("priority", 0)),
        resources={
            name: int(value) if value.isdigit() else value
            for name, value in _split_pairs(details.get("resources", ""))
            if value != "<TBD>"
        },
        is_local=is_local,
    )


def _split_list(text: str) -> tuple[str, ...]:
    return tuple(text.split(", ")) if text else ()


def _split_pairs(text: str) -> list[tuple[str, str]]:
    return [(name, value) for name, equals, value in (item.partition("=") for item in _split_list(text)) if equals]


def find_dependencies(jobs: Sequence[Job]) -> dict[int, set[int]]:
    """Return, for each job's number, those of the jobs that make its inputs."""
    makers = {path: job.jobid for job in jobs for path in job.outputs}
    return {job.jobid: {makers[path] for path in job.inputs if path in makers} - {job.jobid} for job in jobs}
