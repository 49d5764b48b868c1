"""The dry run of the twelve-model study and of about a thousand models, against plain Snakefiles with as many jobs.

python -m tests.benchmarks.dry_run --size quick
"""

import re
import subprocess
from functools import partial
from pathlib import Path

import yaml

from tests.benchmarks.drawn import work_folder
from tests.benchmarks.measure import CPU_S, OURS, Goal, Row, compare, interleave, run_row, show
from tests.workflow.conftest import copy_workflow, run_snakemake

MODELS = 12  # of the study, per seed
SIZES = {  # rounds with one seed, seeds of the large study, rounds with them
    "full": (3, 84, 1),
    "quick": (3, 20, 1),
    "tiny": (1, 2, 1),
}
PEER, FLOOR = "plain Snakefile with as many files, logs, params", "bare Snakefile"
BARE = """
STEPS = ["train", "evaluate", "score", "embed", "explain"]
rule all:
    input: expand("{{model}}/{{step}}", model=range({models}), step=STEPS)
rule train:
    output: "{{model}}/train"
    shell: "touch {{output}}"
rule evaluate:
    input: "{{model}}/train"
    output: "{{model}}/evaluate"
    shell: "touch {{output}}"
rule explain:
    input: "{{model}}/train"
    output: "{{model}}/explain"
    shell: "touch {{output}}"
rule score:
    input: "{{model}}/evaluate"
    output: "{{model}}/score"
    shell: "touch {{output}}"
rule embed:
    input: "{{model}}/evaluate"
    output: "{{model}}/embed"
    shell: "touch {{output}}"
"""

FOLDER = "results/models/{dataset}/{backbone}/{init}/{variant}/seed{seed}"
DATA = "results/data/{dataset}"
WILDCARDS = """
wildcard_constraints:
    dataset="covid|pneumonia|xray8", backbone="mobilenet_v3_large|efficientnet_b1|resnet34",
    init="scratch|imagenet|from_xray8", variant="base|no_blur", seed=r"\\d+"
rule data:
    output: expand("results/data/{{dataset}}/{file}", file=["images.npy", "split.csv", "index.csv", "regions.csv"])
    shell: "touch {output}"
"""
MODEL_FILES = {  # what each step reads of the data and of the model, and what it writes, as in workflow/rules
    "train": ("images.npy split.csv", "", "model.pt model.pt.sha256 history.csv training.json"),
    "evaluate": ("images.npy split.csv", "model.pt model.pt.sha256", "predictions.csv features.npy"),
    "score": ("", "predictions.csv", "metrics.json confusion.png"),
    "embed": ("", "features.npy predictions.csv", "tsne.csv tsne.png"),
    "explain": (
        "images.npy index.csv regions.csv",
        "model.pt model.pt.sha256 predictions.csv",
        "gradcam.png gradcam.csv gradcam.json",
    ),
}


def write_step(name: str, of_data: str, of_model: str, written: str) -> str:
    """Return a plain rule with files, log, message, params and command as our step of that name has them."""
    inputs = [f"{DATA}/{file}" for file in of_data.split()] + [f"{FOLDER}/{file}" for file in of_model.split()]
    outputs = [f"{FOLDER}/{file}" for file in written.split()]
    flags = [f"--i{number} {{input.i{number}:q}}" for number in range(len(inputs))]
    flags += [f"--o{number} {{output.o{number}:q}}" for number in range(len(outputs))]
    return f"""
rule {name}:
    input: {", ".join(f"i{number}={path!r}" for number, path in enumerate(inputs))}
    output: {", ".join(f"o{number}={path!r}" for number, path in enumerate(outputs))}
    log: "{FOLDER}/{name}.log"
    params: settings="x" * 200, code="0123456789ab"
    message: "{name} {{wildcards.dataset}} {{wildcards.backbone}} {{wildcards.init}} seed{{wildcards.seed}}"
    shell: "python {name}.py {" ".join(flags)} --settings {{params.settings:q}} --threads {{threads}} > {{log:q}} 2>&1"
"""


def write_full(folder: Path, models: int) -> Path:
    """Write a plain Snakefile with as many files, logs, params and messages a model as ours; return its folder."""
    nets = ("mobilenet_v3_large/scratch", "efficientnet_b1/scratch", "resnet34/scratch", "mobilenet_v3_large/imagenet")
    sets, seeds = ("covid", "pneumonia", "xray8"), range(models // MODELS)
    ids = [f"{dataset}/{net}/base/seed{seed}" for dataset in sets for net in nets for seed in seeds]
    every = [file for _, _, written in MODEL_FILES.values() for file in written.split()]
    wanted = f'expand("results/models/{{model}}/{{file}}", model={ids!r}, file={every!r})'
    steps = "".join(write_step(name, *files) for name, files in MODEL_FILES.items())
    folder.mkdir()
    (folder / "Snakefile").write_text(f"rule all:\n    input: {wanted}\n{WILDCARDS}{steps}")
    return folder


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


def write_config(clone: Path, seeds: int) -> str:
    """Write the study's config with many seeds; return its path in the clone."""
    config = yaml.safe_load((clone / "config" / "lungs.yaml").read_text())
    path = clone / "config" / f"seeds{seeds}.yaml"
    path.write_text(yaml.safe_dump(config | {"seeds": [*range(seeds)]}))
    return f"config/{path.name}"


def write_bare(folder: Path, models: int) -> Path:
    """Write a Snakefile with five jobs a model and nothing else; return its folder."""
    folder.mkdir()
    (folder / "Snakefile").write_text(BARE.format(models=models))
    return folder


def measure_plan(folder: Path, clone: Path, seeds: int, rounds: int, goal_s: float) -> Row:
    """Return the row of a study with so many seeds."""
    models, config = MODELS * seeds, write_config(clone, seeds)
    sides = {
        OURS: partial(plan, clone, "--configfile", config),
        PEER: partial(plan, write_full(folder / f"full{seeds}", models)),
        FLOOR: partial(plan, write_bare(folder / f"bare{seeds}", models)),
    }
    timings = interleave(sides, rounds, warm_up=seeds == 1)
    walls = ", ".join(f"{name} {show(values)} s" for name, values in timings.wall_s.items())
    jobs = ", ".join(f"{name} {count:,} jobs" for name, count in timings.results.items())
    what, note = f"dry run of {models:,} models", f"{jobs}; on the wall clock: {walls}"
    return compare(what, CPU_S, timings.cpu_s, peer=PEER, floor=FLOOR, goal=Goal(goal_s, of_ratio=False), note=note)


def measure_rows(size: str) -> list[Row]:
    """Return the rows of a small and of a large study."""
    rounds, many, rounds_many = SIZES[size]
    with work_folder() as folder:
        clone = copy_workflow(folder / "clone")
        small = measure_plan(folder, clone, 1, rounds, goal_s=2)
        return [small, measure_plan(folder, clone, many, rounds_many, goal_s=10)]


if __name__ == "__main__":
    run_row(measure_rows)
