"""How time and memory of the stages grow with the data, and of a plan with the study: a table and a plot.

Every size is a process of its own. CPU-seconds are its user and system time; memory is the largest RssAnon, which
leaves out the page cache of files that are mapped. Pixels are tiny: it is the number of images that grows.

    export PYTHONPATH=scripts
    python -m tests.benchmarks.growth --append tests/benchmarks/RESULTS.md       under 6 minutes on 2 cores
    python -m tests.benchmarks.growth --sizes all                                every size: twice as long
    python -m tests.benchmarks.growth --stages split,score --sizes 844,8440
"""

import argparse
import math
import resource
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml
from tabulate import tabulate

from cxrflow.config.settings import settings_json
from cxrflow.files.atomic import read_json, write_json
from tests.benchmarks import growth_inputs
from tests.benchmarks.drawn import work_folder
from tests.benchmarks.growth_figure import draw_growth
from tests.benchmarks.machine import describe_run
from tests.benchmarks.measure import ROOT, round_digits
from tests.benchmarks.memory import watch_memory
from tests.benchmarks.run import append_section
from tests.benchmarks.startup import SCRIPTS
from tests.compare.fake_study import DATASETS, FakeStudy, write_fake_study

DEMO = 844  # images of config/demo.yaml
NIH, MILLION = 112_120, 1_000_000
SIZES = (DEMO, 10 * DEMO, 100 * DEMO, NIH, MILLION)
MODELS = 12  # of the study, per seed
PLOT = Path(__file__).with_name("growth.png")
COLUMNS = ("stage", "of", "CPU-s", "CPU-s per 1,000", "peak MiB", "growth of time", "n log n", "growth of memory")
FAR = 4  # sizes nearer than this times each other say nothing about growth
Command = list[str | Path]


@dataclass(frozen=True)
class Stage:
    """A stage and the sizes at which it is measured.

    Attributes:
        prepare: writes the inputs for a size into a folder and returns the command.
        usual: sizes of a run of minutes.
        whole: sizes of `--sizes all`.
        unit: what a size counts.
    """

    prepare: Callable[[Path, int], Command]
    usual: tuple[int, ...]
    whole: tuple[int, ...] = SIZES
    unit: str = "images"


@dataclass(frozen=True)
class Point:
    """One measurement."""

    stage: str
    n: int
    unit: str
    cpu_s: float
    peak_mib: float


def prepare_index(folder: Path, n: int) -> Command:
    films = growth_inputs.write_files(folder / "films", n)
    outputs = [f"--{name}={folder / name}" for name in ("index", "rejects", "regions", "summary")]
    settings = ["--reader-settings", growth_inputs.reader_json(), "--settings", "{}", "--threads", "2"]
    return [SCRIPTS / "index.py", "--folder", films, "--dataset", "grown", *settings, *outputs]


def prepare_split(folder: Path, n: int) -> Command:
    index = growth_inputs.write_rows(folder / "index.csv", n)
    return [SCRIPTS / "split.py", "--index", index, "--settings", "{}", "--split", folder / "split.csv"]


def prepare_preprocess(folder: Path, n: int) -> Command:
    index = growth_inputs.write_file_rows(folder, n)
    settings = ["--settings", f'{{"size_px": {growth_inputs.SIZE_PX}}}', "--threads", "2"]
    outputs: Command = ["--resume", folder / "resume", "--images", folder / "images.npy"]
    return [SCRIPTS / "preprocess.py", "--folder", folder / "films", "--index", index, *settings, *outputs]


def prepare_epoch(folder: Path, n: int) -> Command:
    return ["-m", "tests.benchmarks.growth_child", *growth_inputs.write_packed(folder, n), str(growth_inputs.SIZE_PX)]


def prepare_score(folder: Path, n: int) -> Command:
    predictions = growth_inputs.write_test_rows(folder / "predictions.csv", n)
    outputs: Command = [
        "--title",
        "grown",
        "--confusion",
        folder / "confusion.png",
        "--metrics",
        folder / "metrics.json",
    ]
    return [SCRIPTS / "score.py", "--predictions", predictions, "--settings", "{}", *outputs]


def prepare_summarize(folder: Path, n: int) -> Command:
    """Invent the results of twelve models on three datasets of n images together."""
    published = sum(sum(dataset["counts"].values()) for dataset in DATASETS.values())
    fake = FakeStudy(config={"score": {"bootstrap_resamples": 20}}, share=n / published)
    study, models = write_fake_study(folder / "fake", fake)
    config = settings_json(study.settings)
    words: Command = ["--results", folder / "fake", "--folder", folder / "fake" / "summary", "--config", config]
    return [SCRIPTS / "summarize.py", *words, "--models", *models]


def prepare_plan(folder: Path, n: int) -> Command:
    """Write the config of the published study with as many seeds as make n models."""
    config = yaml.safe_load((ROOT / "config" / "lungs.yaml").read_text())
    write_json(folder / "config.json", config | {"seeds": [*range(n // MODELS)]})
    place: Command = ["--snakefile", ROOT / "Snakefile", "--directory", folder, "--configfile", folder / "config.json"]
    return ["-m", "snakemake", "-n", "--quiet", "rules", "--cores", "1", *place]


# Index, preprocess and epoch end at the size of NIH's set: a million files take 4 GB of blocks and minutes each.
STAGES = {
    "index": Stage(prepare_index, SIZES[:2], SIZES[:4]),
    "split": Stage(prepare_split, SIZES),
    "preprocess": Stage(prepare_preprocess, SIZES[:3], SIZES[:4]),
    "epoch": Stage(prepare_epoch, SIZES[:3], SIZES[:4]),
    "score": Stage(prepare_score, SIZES[:4]),
    "summarize": Stage(prepare_summarize, SIZES[:2]),
    "dry run": Stage(prepare_plan, (MODELS, 10 * MODELS), (MODELS, 10 * MODELS, 100 * MODELS), unit="models"),
}


def measure_point(name: str, n: int) -> Point:
    """Run one stage at one size."""
    with work_folder() as folder:
        command = [sys.executable, *map(str, STAGES[name].prepare(folder, n))]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        peak_mib = watch_memory(command)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{name}, {n:,} {STAGES[name].unit}: {cpu_s:.1f} CPU-s, {peak_mib:.0f} MiB", file=sys.stderr, flush=True)
    return Point(name, n, STAGES[name].unit, cpu_s, peak_mib)


def measure_points(stages: Sequence[str], sizes: str, kept: Path | None) -> list[Point]:
    """Measure every stage at its sizes, and return the points with those of the file, in the order of STAGES.

    kept: JSON of earlier points, written again after every new one, because the large ones take minutes; or None.
    """
    points = [Point(**point) for point in read_json(kept)] if kept and kept.exists() else []
    for stage in stages:
        for n in choose_sizes(STAGES[stage], sizes):
            if (stage, n) not in {(point.stage, point.n) for point in points}:
                points.append(measure_point(stage, n))
                if kept:
                    write_json(kept, [asdict(point) for point in points])
    return sorted(points, key=lambda point: ([*STAGES].index(point.stage), point.n))


def fit_exponent(n: float, value: float, larger_n: float, larger_value: float) -> float:
    """Return e where values grow as n to the power of e."""
    return math.log(larger_value / value) / math.log(larger_n / n)


def smaller_point(points: Sequence[Point], point: Point) -> Point | None:
    """Return the largest point of the same stage that is far enough below this one."""
    below = [each for each in points if each.stage == point.stage and each.n * FAR <= point.n]
    return max(below, key=lambda each: each.n, default=None)


def describe_point(points: Sequence[Point], point: Point) -> list[str]:
    """Return the cells under COLUMNS."""
    growth = ["", "", ""]
    if below := smaller_point(points, point):
        pairs = [(below.cpu_s, point.cpu_s), (below.n * math.log(below.n), point.n * math.log(point.n))]
        pairs.append((below.peak_mib, point.peak_mib))
        growth = [f"{fit_exponent(below.n, low, point.n, high):.2f}" for low, high in pairs]
    per_thousand = round_digits(1000 * point.cpu_s / point.n)
    cells = [point.stage, f"{point.n:,} {point.unit}", round_digits(point.cpu_s), per_thousand]
    return [*cells, f"{point.peak_mib:.0f}", *growth]


def format_points(points: Sequence[Point]) -> str:
    """Return the Markdown table."""
    return tabulate([describe_point(points, each) for each in points], COLUMNS, "github", disable_numparse=True)


def choose_sizes(stage: Stage, sizes: str) -> tuple[int, ...]:
    """Return the sizes that `usual`, `all` or a list of numbers stand for."""
    return {"usual": stage.usual, "all": stage.whole}.get(sizes) or tuple(int(size) for size in sizes.split(","))


def choose_stages(text: str) -> list[str]:
    """Return the names in a comma-separated list; argparse reports the unknown."""
    names = text.split(",")
    unknown = [name for name in names if name not in STAGES]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)} is no stage; known: {', '.join(STAGES)}")
    return names


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", type=choose_stages, default=[*STAGES], help=f"of: {', '.join(STAGES)}")
    parser.add_argument("--sizes", default="usual", help="usual, all, or numbers separated by commas")
    parser.add_argument("--plot", type=Path, default=PLOT, help="PNG to write")
    parser.add_argument("--points", type=Path, metavar="FILE", help="keep points here, and measure none of them again")
    parser.add_argument("--append", type=Path, metavar="FILE", help="also write the table to the end of this file")
    arguments = parser.parse_args()
    begin_s = time.monotonic()
    points = measure_points(arguments.stages, arguments.sizes, arguments.points)
    draw_growth(points, arguments.plot)
    command = f"python -m tests.benchmarks.growth {shlex.join(sys.argv[1:])}".strip()
    text = f"{describe_run(command, time.monotonic() - begin_s)}\n\n{format_points(points)}"
    print(text)
    if arguments.append:
        append_section(arguments.append, f"{text}\n\n![Time and memory against size]({arguments.plot.name})")


if __name__ == "__main__":
    main()
