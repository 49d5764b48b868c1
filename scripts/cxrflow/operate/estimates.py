"""How long jobs take, from what was measured; what was never measured, or on another kind of device, gets no number.

Training, evaluation: images/s of this study's own finished trainings, else of backbones/<backbone>.json, on the kind of
device that will compute. Reading data: seconds per image of the same reader. Other jobs: as long as they took.
Reads only below results/ and, for when jobs started and ended, .snakemake/metadata.
"""

import json
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from cxrflow.config.layout import BASE, RESULTS, Layout, ModelId
from cxrflow.config.readers import READERS
from cxrflow.config.study import Study
from cxrflow.config.tuning import epochs_of, plan_runs
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import read_json
from cxrflow.files.records import SUBSETS, EpochRow, read_split
from cxrflow.files.tables import read_records
from cxrflow.operate.jobs import Job

NEVER = "never measured"
NO_RATE = "images/s on the device that will compute are unknown"
NOT_ESTIMATED = "short, and computes with a network"
NO_COUNT = "the number of images is unknown before index has run"
PER_IMAGE = ("index", "preprocess")  # rules whose time is nearly all decoding
RECORDS = Path(".snakemake/metadata")


@dataclass(frozen=True)
class JobTime:
    """Seconds that a job will take and how that is known; None seconds and why nobody knows."""

    seconds: float | None
    source: str


@dataclass(frozen=True)
class Rate:
    """Images per second of a training and of inference, and how that is known."""

    train: float
    infer: float
    source: str


@dataclass(frozen=True)
class ImageCount:
    """Images of one dataset: all that are kept, by train, val and test, and where the numbers come from."""

    total: int
    subsets: dict[str, int]
    source: str


def count_images(study: Study, dataset: str) -> ImageCount | None:
    """Count a dataset's images: by its index, else as published under the config's cap; None: nobody knows yet."""
    layout = study.layout
    index, split, test = layout.index_counts(dataset), layout.split(dataset), layout.test(dataset)
    settings, data = study.settings, study.settings.datasets[dataset]
    published = READERS[data.reader].count_published(data.classes, data.findings)
    cap = settings.index.max_images_per_class
    if index.exists():
        total, source = sum(read_json(index)["counts"].values()), "counted by index"
    elif not published:
        return None
    elif settings.phantoms:
        total, source = len(published) * settings.phantoms.count_of(data.folder), "as many as will be synthesised"
    elif cap:
        total, source = sum(min(cap, n) for n in published.values()), f"published, at most {cap:,} a class"
    else:
        total, source = sum(published.values()), "published"
    if split.exists() and test.exists():
        found = Counter(row.subset for row in read_split(split, test))
        return ImageCount(total, {subset: found[subset] for subset in SUBSETS}, source)
    return ImageCount(total, {subset: round(total * getattr(settings.split, subset)) for subset in SUBSETS}, source)


@dataclass(frozen=True)
class Record:
    """How long the job that made an output took: by its benchmark table, else by Snakemake, with waits in a queue."""

    study: str
    rule: str
    output: Path
    seconds: float


def read_records_of_jobs() -> list[Record]:
    """Read how long the finished jobs of all studies took, one record for each of their outputs."""
    return [record for path in sorted(RECORDS.glob("*")) if (record := _read_record(path))]


def _read_record(path: Path) -> Record | None:
    """Read Snakemake's record of an output, whose name is the output's path in base64."""
    try:
        output = Path(urlsafe_b64decode(path.name).decode())
        record = json.loads(path.read_text(encoding="utf-8"))
        seconds = record["endtime"] - record["starttime"]
    except (OSError, ValueError, KeyError, TypeError):  # a folder, or a record that Snakemake is writing
        return None
    if not output.is_relative_to(RESULTS) or len(output.parts) < 3:
        return None
    measured_s = read_benchmark(output.with_name(f"{record['rule']}.tsv"))
    return Record(output.parts[1], record["rule"], output, max(0.0, seconds) if measured_s is None else measured_s)


def read_benchmark(path: Path) -> float | None:
    """Return the wall time in seconds from a benchmark table of Snakemake; None: there is none."""
    try:
        names, *rows = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
        return float(rows[-1][names.index("s")])
    except (OSError, ValueError, IndexError):  # Snakemake writes NA for a job too short to look at
        return None


def read_trained_s(history: Path) -> float:
    """Return how long a finished training took, from its epochs, in seconds; 0 where there is none."""
    try:
        epochs: Sequence[EpochRow] = read_records(history, EpochRow)
    except (OSError, CxrflowError):  # none yet, or another version wrote it
        return 0.0
    return sum(row.seconds for row in epochs)


class Estimator:
    """What is known of a study's speed, for plan and status.

    Args:
        study: whose jobs are estimated.
        has_gpu: whether jobs whose device is `auto` will compute on a GPU.
    """

    def __init__(self, study: Study, *, has_gpu: bool) -> None:
        """Read what was measured."""
        self.study, self.has_gpu = study, has_gpu
        self.counts = {dataset: count_images(study, dataset) for dataset in study.settings.datasets}
        self._records = read_records_of_jobs()
        self._trainings = [found for model in study.models() if (found := self._read_training(model))]

    def estimate(self, job: Job) -> JobTime:
        """Estimate one job."""
        model = self.model_of(job)
        if model and job.rule in ("train", "trial", "evaluate"):
            return self._estimate_by_rate(job, model)
        if "device" in job.resources or job.gpus:
            return JobTime(None, NOT_ESTIMATED)
        if job.rule in PER_IMAGE:
            return self._estimate_by_images(job)
        found = self._find_records(job)
        if not found:
            return JobTime(None, NEVER)
        return JobTime(median(each.seconds for each in found), f"as long as in {_name_studies(found)}")

    def model_of(self, job: Job) -> ModelId | None:
        """Return the model that a job works on; a trial's counts as the base, as its settings are not known yet."""
        if job.rule != "trial":
            return job.model
        tune = self.study.searches()[job.wildcards["search"]]
        return ModelId(tune.dataset, tune.backbone, tune.init, seed=tune.seed)

    def count_epochs(self, job: Job) -> int:
        """Return how many epochs a training or a run of a search takes."""
        if job.rule == "trial":
            tune = self.study.searches()[job.wildcards["search"]]
            return epochs_of(tune, plan_runs(tune)[int(job.wildcards["run"])])
        return self.study.train_settings(job.wildcards["variant"]).epochs

    def device_of(self, job: Job) -> str:
        """Return the kind of device that a job will compute on: cpu, cuda, or empty where it has none."""
        device = str(job.resources.get("device", ""))
        return device if device != "auto" else "cuda" if self.has_gpu else "cpu"

    def _estimate_by_rate(self, job: Job, model: ModelId) -> JobTime:
        """Estimate by images/s: epochs over train and validation images, or one pass over validation and test."""
        count, rate = self.counts[model.dataset], self.find_rate(model, self.device_of(job), job.ask("processes") or 1)
        if count is None or rate is None:
            return JobTime(None, NO_COUNT if count is None else NO_RATE)
        images = count.subsets
        if job.rule == "evaluate":
            return JobTime((images["val"] + images["test"]) / rate.infer, rate.source)
        settings = self.study.train_settings(model.variant)
        inferred = images["val"] + min(settings.precise_batch_norm_images, images["train"])
        epoch_s = images["train"] / rate.train + inferred / rate.infer
        return JobTime(self.count_epochs(job) * epoch_s, rate.source)

    def find_rate(self, model: ModelId, device: str, processes: int = 1) -> Rate | None:
        """Return the images/s of a model on a kind of device; None: nobody has measured them there.

        Args:
            model: of the study.
            device: cpu or cuda.
            processes: that share a training, each on a GPU of its own or all on the CPU.
        """
        load = {**self._load_of(model.variant), "device": device}
        mine = {**load, "backbone": model.backbone, "gpus": processes}
        found = [rate for trained, rate in self._trainings if trained == mine]
        if found:
            source = f"{len(found)} finished training(s) on {', '.join(sorted({rate.source for rate in found}))}"
            return Rate(median(rate.train for rate in found), median(rate.infer for rate in found), source)
        return self._read_profile(model.backbone, load) if processes == 1 else None

    def is_profiled(self, job: Job) -> bool:
        """Return whether profile_backbone measures the load of a model's job: in one process, as of the base."""
        model = self.model_of(job)
        return model is not None and job.ask("processes") <= 1 and self._load_of(model.variant) == self._load_of(BASE)

    def _load_of(self, variant: str) -> dict[str, Any]:
        settings = self.study.train_settings(variant)
        size_px = self.study.preprocess_settings(variant).size_px
        return {"size_px": size_px, "batch_size": settings.batch_size, "precision": settings.precision}

    def _read_training(self, model: ModelId) -> tuple[dict[str, Any], Rate] | None:
        """Return the load of a finished training and its images/s, the median over epochs.

        None: it has not finished, or another version wrote it, which says nothing of this one's speed.
        """
        path, history = (self.study.layout.model_file(model, name) for name in ("training.json", "history.csv"))
        if not (path.exists() and history.exists()):
            return None
        try:
            values: dict[str, Any] = read_json(path)
            epochs: Sequence[EpochRow] = read_records(history, EpochRow)
            trained_s = [values["n_train"] / row.images_per_s for row in epochs]
            validated_s = [max(1e-9, row.seconds - train) for row, train in zip(epochs, trained_s, strict=True)]
            load = {key: values["settings"][key] for key in ("batch_size", "precision")}
            load |= {key: values[key] for key in ("device", "gpus")}
            load |= {"backbone": model.backbone, "size_px": self.study.preprocess_settings(model.variant).size_px}
            inferred = values["n_val"] + min(values["settings"]["precise_batch_norm_images"], values["n_train"])
            train, infer = values["n_train"] / median(trained_s), inferred / median(validated_s)
            return load, Rate(train, infer, values["device_name"])
        except (KeyError, ValueError, CxrflowError):
            return None

    def _read_profile(self, backbone: str, load: dict[str, Any]) -> Rate | None:
        """Return the rates that profile_backbone measured, if they are of this load on this kind of device."""
        path = self.study.layout.backbone(backbone)
        profile: dict[str, Any] = read_json(path) if path.exists() else {}
        train, infer = (profile.get(part, {}) for part in ("training", "inference"))
        pairs = ((train, load), (infer, load | {"precision": "float32"}))
        if any(measured.get(key) != asked[key] for measured, asked in pairs for key in asked):
            return None
        return Rate(train["images_per_s"], infer["images_per_s"], f"profile_backbone on {train['device_name']}")

    def _estimate_by_images(self, job: Job) -> JobTime:
        """Estimate index or packing: seconds per image of the same reader, on real or on synthetic images alike."""
        dataset = job.wildcards["dataset"]
        count = self.counts[dataset]
        if count is None:
            return JobTime(None, NO_COUNT)
        mine = self.study.settings.datasets[dataset].reader, self.study.settings.phantoms is not None
        found = {record: _count_indexed(record, *mine) for record in self._find_records(job)}
        alike = {record: n for record, n in found.items() if n}
        if not alike:
            return JobTime(None, NEVER)
        per_image_s = median(record.seconds / n for record, n in alike.items())
        return JobTime(per_image_s * count.total, f"{1000 * per_image_s:.3g} ms an image in {_name_studies(alike)}")

    def _find_records(self, job: Job) -> list[Record]:
        """Return the records of a job's rule, and backbone where it has one; this study's if there are any."""
        backbone = job.wildcards.get("backbone", "")
        found = {
            each.output.parent: each  # one for all outputs of a job
            for each in self._records
            if each.rule == job.rule and (not backbone or backbone in each.output.parts)
        }.values()
        return [each for each in found if each.study == self.study.settings.study] or list(found)


def _count_indexed(record: Record, reader: str, is_synthetic: bool) -> int:
    """Return the images of the dataset on record; 0 where they are of another reader or not indexed."""
    layout = Layout.of_study(record.study)
    path = layout.index_counts(record.output.relative_to(layout.root).parts[1])
    if not path.exists() or layout.phantoms().is_dir() != is_synthetic:
        return 0
    index = read_json(path)
    return sum(index["counts"].values()) if index.get("reader") == reader else 0  # another version had none


def _name_studies(records: Iterable[Record]) -> str:
    return ", ".join(sorted({record.study for record in records}))
