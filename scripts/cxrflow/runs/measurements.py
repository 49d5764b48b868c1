"""What earlier runs took: read from the results of studies, wholly or partly run.

Reads training.json and history.csv of every model, the benchmark tables (*.tsv) that Snakemake keeps beside the logs,
index.json, and the sizes of models and pictures. Writes nothing.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from cxrflow.errors import CxrflowError
from cxrflow.files import read_json
from cxrflow.models.identity import BASE, ModelId
from cxrflow.records import EpochRow
from cxrflow.tables import read_records

# Where the workflow keeps each rule's benchmark table, below results/<study>; a test compares it with the rules.
BENCHMARKS = {
    "phantom": "phantoms.tsv",
    "index": "data/*/index.tsv",
    "split": "data/*/split.tsv",
    "preprocess": "data/*/*/preprocess.tsv",
    "samples": "data/*/*/samples.tsv",
    "fetch_weights": "weights/*.tsv",
    **{rule: f"models/*/*/*/*/*/{rule}.tsv" for rule in ("train", "evaluate", "score", "embed", "explain")},
    "profile_backbone": "backbones/*.tsv",
    "summarize": "summary/summarize.tsv",
    "report": "report.tsv",
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
    train_s: float
    val_s: float
    startup_s: float | None


@dataclass(frozen=True)
class JobTime:
    """What one job took, from Snakemake's benchmark table, which names neither device nor host.

    Attributes:
        study: whose it was.
        rule: which rule.
        seconds: wall time.
        about: names of the folders that it stands in, such as dataset or backbone.
        reader: who reads its dataset; empty where it has none.
        n_images: images of its dataset; None where it has none.
        drawn: the phantoms' settings, where its images were drawn.
    """

    study: str
    rule: str
    seconds: float
    about: tuple[str, ...]
    reader: str = ""
    n_images: int | None = None
    drawn: dict[str, Any] | None = field(default=None, hash=False)


@dataclass(frozen=True)
class Measurements:
    """Everything measured in some studies.

    Attributes:
        trainings: finished trainings.
        jobs: jobs with a benchmark table.
        model_bytes: sizes of model.pt by backbone.
        picture_bytes: sizes of the pictures by the rule that makes them.
    """

    trainings: list[TrainingTime] = field(default_factory=list)
    jobs: list[JobTime] = field(default_factory=list)
    model_bytes: dict[str, list[int]] = field(default_factory=dict)
    picture_bytes: dict[str, list[int]] = field(default_factory=dict)

    @property
    def studies(self) -> list[str]:
        """Names of the studies that something was measured in."""
        return sorted({each.study for each in [*self.trainings, *self.jobs]})


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
        found.jobs.extend(job for rule, glob in BENCHMARKS.items() for job in _read_jobs(folder, rule, glob))
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
    values = read_json(path)
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
        train_s=median(trained_s) / values["n_train"],
        val_s=median(validated_s) / max(1, values["n_val"]),
        startup_s=startup_s if startup_s is not None and startup_s >= 0 else None,  # below 0: only the last attempt
    )


def _size_of(folder: Path, model: ModelId) -> int | None:
    """Return the side of a model's images: from the names of its dataset's recipes, or the profile of its backbone."""
    names = [path.name for path in (folder / "data" / model.dataset).glob("*px*") if path.is_dir()]
    sizes = {int(match[1]) for name in names if (match := re.match(r"(\d+)px", name))}
    profile = folder / "backbones" / f"{model.backbone}.json"
    if len(sizes) != 1 and model.variant == BASE and profile.exists():
        return int(read_json(profile)["size_px"])
    return sizes.pop() if len(sizes) == 1 else None


def _read_jobs(folder: Path, rule: str, glob: str) -> list[JobTime]:
    times = [(path, read_benchmark(path)) for path in sorted(folder.glob(glob))]
    return [_job_time(folder, rule, path, seconds) for path, seconds in times if seconds is not None]


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
