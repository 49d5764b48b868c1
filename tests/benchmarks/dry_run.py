"""The dry run of twelve models and of about a thousand, against a bare Snakefile with as many."""

import re
import subprocess
from functools import partial
from pathlib import Path

from tests.benchmarks.inputs import work_folder
from tests.benchmarks.measure import CPU_S, OURS, Goal, Row, compare, interleave, show
from tests.workflow.conftest import copy_workflow, run_snakemake

MODELS = 12  # of the study, per seed
SIZES = {"full": (3, 84), "quick": (3, 20), "tiny": (1, 2)}  # rounds with one seed, seeds of the large study
FLOOR = "bare Snakefile"
BARE = """
rule all:
    input: expand("{{model}}/{{job}}", model=range({models}), job=["train", "evaluate", "score"])
rule train:
    output: "{{model}}/train"
    shell: "touch {{output}}"
rule evaluate:
    input: "{{model}}/train"
    output: "{{model}}/evaluate"
    shell: "touch {{output}}"
rule score:
    input: "{{model}}/evaluate"
    output: "{{model}}/score"
    shell: "touch {{output}}"
"""


def plan(folder: Path, *arguments: str) -> int:
    """Run a dry run; return how many jobs it plans.

    Raises:
        RuntimeError: it failed.
    """
    run: subprocess.CompletedProcess[str] = run_snakemake(folder, "-n", "--quiet", "rules", "--cores", "1", *arguments)
    total = re.search(r"^total +(\d+)$", run.stdout, flags=re.MULTILINE)
    if run.returncode != 0 or total is None:
        raise RuntimeError(f"the dry run failed: {run.stdout[-500:]}{run.stderr[-2000:]}")
    return int(total[1])


def write_bare(folder: Path, models: int) -> Path:
    """Write a Snakefile with three jobs a model and nothing else; return its folder."""
    folder.mkdir()
    (folder / "Snakefile").write_text(BARE.format(models=models))
    return folder


def measure_plan(folder: Path, clone: Path, seeds: int, rounds: int, goal_s: float) -> Row:
    """Return the row of a study with so many seeds."""
    models = MODELS * seeds
    sides = {
        OURS: partial(plan, clone, "--configfile", "config/lungs.yaml", "--config", f"seeds={[*range(seeds)]}"),
        FLOOR: partial(plan, write_bare(folder / f"bare{seeds}", models)),
    }
    timings = interleave(sides, rounds, warm_up=seeds == 1)
    walls = ", ".join(f"{name} {show(values)} s" for name, values in timings.wall_s.items())
    jobs = ", ".join(f"{name} {count:,} jobs" for name, count in timings.results.items())
    what, note = f"dry run of {models:,} models", f"{jobs}; on the wall clock: {walls}"
    return compare(what, CPU_S, timings.cpu_s, floor=FLOOR, goal=Goal(goal_s, of_ratio=False), note=note)


def measure_rows(size: str) -> list[Row]:
    """Return the rows of a small and of a large study."""
    rounds, many = SIZES[size]
    with work_folder() as folder:
        clone = copy_workflow(folder / "clone")
        small = measure_plan(folder, clone, 1, rounds, goal_s=2)
        return [small, measure_plan(folder, clone, many, 1, goal_s=10)]
