"""What earlier runs took: read from the results of studies, wholly or partly run.

Reads training.json and history.csv of every model, the benchmark tables (*.tsv) beside the logs, Snakemake's own
records of when a job started and ended, index.json, and the sizes of models and pictures. Writes nothing.
"""

import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from cxrflow.config.identity import BASE, ModelId
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import read_json
from cxrflow.files.records import EpochRow
from cxrflow.files.tables import read_records

# Where each rule's benchmark table is, below results/<study>; a test compares it with the rules. `train` has one, too.
BENCHMARKS = {
    "phantom": "phantoms.tsv",
    "index": "data/*/index.tsv",
    "preprocess": "data/*/*/preprocess.tsv",
}
# The last file that a rule without a benchmark table writes: Snakemake keeps a record of its making. Adding tables
# instead would make every finished study run again, as Snakemake takes a missing one for a missing output.
LAST_OUTPUTS = {
    "split": "data/*/split.csv",
    "samples": "data/*/*/samples.png",
    "score": "models/*/*/*/*/*/metrics.json",
    "embed": "models/*/*/*/*/*/tsne.csv",
    "explain": "models/*/*/*/*/*/gradcam.json",
    "profile_backbone": "backbones/*.json",
    "summarize": "summary/models.csv",
    "report": "report.html",
}
PICTURES = {
    "samples": ("data/*/*/samples.png", "data/*/*/before_after.png"),
    "score": ("models/*/*/*/*/*/confusion.png",),
    "embed": ("models/*/*/*/*/*/tsne.png",),
    "explain": ("models/*/*/*/*/*/gradcam.png",),
}


@dataclass(frozen=True)
class TrainingTime:
    """What one finished training took.

    Attributes:
        study: whose it was.
        model: which it was.
        size_px: side of its images.
        precision: float32 or bfloat16.
        device, device_name, host, threads: where.
        gpus: processes that shared it, one per GPU.
        train_s, val_s: seconds per image and epoch, the median over epochs.
        startup_s: what the whole job took beyond its epochs; None where it was interrupted or not measured.
    """

    study: str
    model: ModelId
    size_px: int
    precision: str
    device: str
    device_name: str
    host: str
    threads: int
    gpus: int
    train_s: float
    val_s: float
    startup_s: float | None


@dataclass(frozen=True)
class JobTime:
    """What one job took: by its benchmark table or by Snakemake's record, neither of which names device or host.

    Attributes:
        study: whose it was.
        rule: which rule.
        seconds: wall time.
        about: names of the folders that it stands in, such as dataset or backbone.
        reader: who reads its dataset; empty where it has none.
        n_images: images of its dataset; None where it has none.
        drawn: the phantoms' settings, where its images were drawn.
        is_recorded: whether it is from Snakemake's record, which counts a wait in a queue.
    """

    study: str
    rule: str
    seconds: float
    about: tuple[str, ...]
    reader: str = ""
    n_images: int | None = None
    drawn: dict[str, Any] | None = None
    is_recorded: bool = False


@dataclass(frozen=True)
class Measurements:
    """Everything measured in some studies.

    Attributes:
        trainings: finished trainings.
        jobs: all other jobs whose time is known.
        model_bytes: sizes of model.pt by backbone.
        picture_bytes: sizes of the pictures by the rule that makes them.
    """

    trainings: list[TrainingTime] = field(default_factory=list)
    jobs: list[JobTime] = field(default_factory=list)
    model_bytes: dict[str, list[int]] = field(default_factory=dict)
    picture_bytes: dict[str, list[int]] = field(default_factory=dict)


def find_studies(named: Sequence[Path], own: Path) -> list[Path]:
    """Return the result folders to read: this study's, and the named ones or else all beside it.

    Raises:
        CxrflowError: a named folder is no study's results.
    """
    for folder in named:
        if not any((folder / part).is_dir() for part in ("data", "models")):
            raise CxrflowError(
                f"--measured {folder}: no results of a study (no data/ or models/ in it); name folders such as"
                " results/quick, and write targets before the options"
            )
    others = named or sorted(path for path in own.parent.glob("*") if path.is_dir())
    return [*([own] if own.is_dir() else []), *(path for path in others if path.resolve() != own.resolve())]


def read_measurements(folders: Iterable[Path]) -> Measurements:
    """Read what the studies in these folders took.

    Raises:
        CxrflowError: a file is damaged; with its name.
    """
    found = Measurements()
    for folder in folders:
        found.trainings.extend(_read_trainings(folder))
        found.jobs.extend(_read_jobs(folder, BENCHMARKS, read_benchmark))
        found.jobs.extend(_read_jobs(folder, LAST_OUTPUTS, read_record))
        for path in folder.glob("models/*/*/*/*/*/model.pt"):
            found.model_bytes.setdefault(path.parts[-5], []).append(path.stat().st_size)
        for rule, globs in PICTURES.items():
            sizes = [path.stat().st_size for glob in globs for path in folder.glob(glob)]
            found.picture_bytes.setdefault(rule, []).extend(sizes)
    return found


def _read_trainings(folder: Path) -> list[TrainingTime]:
    paths = sorted(folder.glob("models/*/*/*/*/*/training.json"))
    found = [_read_training(folder, path) for path in paths if path.with_name("history.csv").exists()]
    return [training for training in found if training is not None]


def _read_training(folder: Path, path: Path) -> TrainingTime | None:
    """Return one training's times, or None where its image size is not on record or it has no epochs."""
    values = _read_summary(path)
    epochs: list[EpochRow] = read_records(path.with_name("history.csv"), EpochRow)
    model = ModelId.parse(path.parent.relative_to(folder / "models").as_posix())
    size_px = _size_of(folder, model)
    if size_px is None or not epochs:
        return None
    trained_s = [values["n_train"] / row.images_per_s for row in epochs]
    validated_s = [max(0.0, row.seconds - train) for row, train in zip(epochs, trained_s, strict=True)]
    whole_s = read_benchmark(path.with_name("train.tsv"))
    startup_s = None if whole_s is None else whole_s - sum(row.seconds for row in epochs)
    return TrainingTime(
        study=folder.name,
        model=model,
        size_px=size_px,
        precision=values["settings"]["precision"],
        **{key: values[key] for key in ("device", "device_name", "host", "threads")},
        gpus=values["gpus"],
        train_s=median(trained_s) / values["n_train"],
        val_s=median(validated_s) / max(1, values["n_val"]),
        startup_s=startup_s if startup_s is not None and startup_s >= 0 else None,  # below 0: only the last attempt
    )


def _read_summary(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = read_json(path)
    missing = {"n_train", "n_val", "settings", "device", "device_name", "host", "threads", "gpus"} - set(values)
    if missing:
        raise CxrflowError(
            f"{path} lacks {', '.join(sorted(missing))}, so it is of another version: name the folders to take times"
            " from with --measured"
        )
    return values


def _size_of(folder: Path, model: ModelId) -> int | None:
    """Return the side of a model's images: from the names of its dataset's recipes, or the profile of its backbone."""
    names = [path.name for path in (folder / "data" / model.dataset).glob("*px*") if path.is_dir()]
    sizes = {int(match[1]) for name in names if (match := re.match(r"(\d+)px", name))}
    profile = folder / "backbones" / f"{model.backbone}.json"
    if len(sizes) != 1 and model.variant == BASE and profile.exists():
        return int(read_json(profile)["size_px"])
    return sizes.pop() if len(sizes) == 1 else None


def _read_jobs(folder: Path, places: dict[str, str], read: Callable[[Path], float | None]) -> list[JobTime]:
    paths = [(rule, path) for rule, glob in places.items() for path in sorted(folder.glob(glob))]
    times = [(rule, path, read(path)) for rule, path in paths]
    return [_job_time(folder, rule, path, seconds) for rule, path, seconds in times if seconds is not None]


def _job_time(folder: Path, rule: str, path: Path, seconds: float) -> JobTime:
    place = path.relative_to(folder)
    manifest = folder / "phantoms" / "manifest.json"
    index = folder / "data" / place.parts[1] / "index.json" if place.parts[0] == "data" else None
    summary = read_json(index) if index and index.exists() else {}
    return JobTime(
        study=folder.name,
        rule=rule,
        seconds=seconds,
        about=(*place.parts[:-1], place.stem),
        reader=summary.get("reader", ""),
        n_images=sum(summary["counts"].values()) if summary else None,
        drawn=read_json(manifest)["settings"] if manifest.exists() else None,
        is_recorded=rule in LAST_OUTPUTS,
    )


def read_benchmark(path: Path) -> float | None:
    """Return the wall time in seconds from a benchmark table of Snakemake, or None where there is none."""
    if not path.exists():
        return None
    lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    if len(lines) < 2 or "s" not in lines[0]:
        return None
    try:
        return float(lines[-1][lines[0].index("s")])
    except ValueError:  # Snakemake writes NA for a job too short to look at
        return None


def read_record(path: Path) -> float | None:
    """Return how long the making of results/<study>/... took by Snakemake's record, or None where it has none.

    The record of an output lies in .snakemake/metadata beside results/, named by the output's path in base64.
    """
    whole = path.absolute()
    root = next((parent.parent for parent in whole.parents if parent.name == "results"), None)
    if root is None:
        return None
    name = urlsafe_b64encode(whole.relative_to(root).as_posix().encode()).decode()
    try:
        record = json.loads((root / ".snakemake" / "metadata" / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no record, or one that a running Snakemake is writing
        return None
    times = record.get("starttime"), record.get("endtime")
    return max(0.0, times[1] - times[0]) if None not in times else None
