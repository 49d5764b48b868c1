"""How time and memory of the stages grow with the number of images: each at one size and at ten times as many.

Every measurement is a process of its own. Pixels are tiny: it is the number of images that grows. Not in here: epochs,
whose data path is in the row `memory`, and plans, which are in the row `dry_run`.
"""

import math
import resource
import sys
from collections.abc import Callable
from pathlib import Path

from cxrflow.compare.collect import collect_results
from cxrflow.config.parsing import settings_json
from cxrflow.files.records import GroupRow
from cxrflow.files.tables import write_records
from tests.benchmarks import inputs
from tests.benchmarks.measure import OURS, Row, Unit, compare
from tests.benchmarks.memory import watch_memory
from tests.benchmarks.startup import SCRIPTS
from tests.compare.fake_study import DATASETS, FakeStudy, write_fake_study, write_verdicts

SIZES = {"full": 8_440, "quick": 844, "tiny": 200}  # images, and then ten times as many; config/demo.yaml has 844
TIMES = 10
SIZE_PX = 32
READER = '{"reader": "csv", "folder": "films", "table": "labels.csv", "patient_column": "patient"}'
CPU_S_PER_THOUSAND = Unit("CPU-s per 1,000 images", False)
Command = list[str | Path]


def prepare_index(folder: Path, n: int) -> Command:
    films = inputs.write_noise(folder / "films", n)
    outputs = [f"--{name}={folder / name}" for name in ("index", "rejects", "regions", "thumbnails", "summary")]
    settings = ["--reader-settings", READER, "--settings", "{}", "--threads", "2"]
    return [SCRIPTS / "index.py", "--folder", films, "--dataset", "grown", *settings, *outputs]


def prepare_split(folder: Path, n: int) -> Command:
    index = inputs.write_long_index(folder / "index.csv", n)
    write_records(folder / "groups.csv", GroupRow, [])
    tables = ["--groups", folder / "groups.csv", "--split", folder / "split.csv", "--test", folder / "test.csv"]
    return [SCRIPTS / "split.py", "--index", index, "--dataset", "grown", "--settings", "{}", *tables]


def prepare_preprocess(folder: Path, n: int) -> Command:
    paths = inputs.write_films(folder / "films", SIZE_PX, inputs.DISTINCT)
    index = inputs.write_index(folder / "films", paths, folder / "index.csv", n)
    settings = ["--settings", f'{{"size_px": {SIZE_PX}}}', "--threads", "2"]
    return [SCRIPTS / "preprocess.py", *inputs.preprocess_files(folder, index, folder / "images.npy"), *settings]


def prepare_score(folder: Path, n: int) -> Command:
    predictions, features = inputs.write_scores(folder, n)
    settings = ["--settings", "{}", "--embed", '{"max_images": 100}', "--title", "grown"]  # t-SNE has a row of its own
    names = {"confusion": "confusion.png", "metrics": "metrics.json", "tsne-csv": "tsne.csv", "tsne-png": "tsne.png"}
    outputs = [f"--{name}={folder / file}" for name, file in names.items()]
    return [SCRIPTS / "score.py", "--predictions", predictions, "--features", features, *settings, *outputs]


def prepare_summarize(folder: Path, n: int) -> Command:
    """Invent the results of twelve models on three datasets of n images together."""
    published = sum(sum(dataset["counts"].values()) for dataset in DATASETS.values())
    fake = FakeStudy(config={"score": {"bootstrap_resamples": 20}}, share=n / published)
    study, models = write_fake_study(folder / "fake", fake)
    write_verdicts(collect_results(folder / "fake", study, models))
    config = settings_json(study.settings)
    words: Command = ["--results", folder / "fake", "--folder", folder / "fake" / "summary", "--config", config]
    return [SCRIPTS / "summarize.py", *words, "--models", *models]


STAGES: dict[str, Callable[[Path, int], Command]] = {
    "index": prepare_index,
    "split": prepare_split,
    "preprocess": prepare_preprocess,
    "score": prepare_score,
    "summarize": prepare_summarize,
}


def measure_stage(name: str, n: int) -> tuple[float, float]:
    """Run one stage on n images; return its CPU-seconds and its largest memory beyond the page cache, MiB."""
    with inputs.work_folder() as folder:
        command = [sys.executable, *map(str, STAGES[name](folder, n))]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        peak_mib = watch_memory(command)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, peak_mib


def grow(low: float, high: float) -> str:
    """Return e where a value grows as the number of images to the power of e."""
    return f"{math.log(high / low, TIMES):.2f}"


def measure_growth(name: str, n: int) -> Row:
    """Return the row of one stage."""
    (few_s, few_mib), (many_s, many_mib) = (measure_stage(name, count) for count in (n, TIMES * n))
    small = f"{n:,} images"
    values = {OURS: [1000 * many_s / (TIMES * n)], small: [1000 * few_s / n]}
    note = f"grows as n to the power of {grow(few_s, many_s)}, memory {grow(few_mib, many_mib)} to {many_mib:.0f} MiB"
    return compare(f"{name} of {TIMES * n:,} images", CPU_S_PER_THOUSAND, values, peer=small, note=note)


def measure_rows(size: str) -> list[Row]:
    """Return one row per stage."""
    return [measure_growth(name, SIZES[size]) for name in STAGES]
