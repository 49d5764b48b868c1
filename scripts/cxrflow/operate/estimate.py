"""How long each job of a plan will take, from what was measured; what was never measured gets no number. Pure.

Three kinds of scaling, all of them said beside the estimate: training and evaluation by images, epochs and pixels;
index, packing and phantom by images; every other rule takes as long as it took.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from cxrflow.config.backbones import BACKBONES
from cxrflow.config.identity import ModelId
from cxrflow.config.readers import PHANTOM_READERS, READERS
from cxrflow.config.settings import PhantomSettings, parse_settings
from cxrflow.config.study import Study
from cxrflow.operate.dry_run import Job
from cxrflow.operate.image_counts import ImageCounts
from cxrflow.operate.measurements import JobTime, Measurements, TrainingTime

NEVER = "never measured"
UNKNOWN_COUNT = "how many images there are is unknown before index has run"


@dataclass(frozen=True)
class Basis:
    """What an estimate rests on.

    Attributes:
        what: rule, and the backbone or reader that it holds for.
        measured: how many measurements of which study.
        places: devices, hosts and threads.
        spread: fastest and slowest.
        remarks: what makes it less sure.
        is_other_device: whether another kind of device will compute.
    """

    what: str
    measured: str
    places: str
    spread: str
    remarks: tuple[str, ...] = ()
    is_other_device: bool = False


@dataclass(frozen=True)
class Estimate:
    """Seconds of a job: by the median, the fastest and the slowest of the measurements."""

    seconds: float
    low: float
    high: float
    basis: Basis


@dataclass(frozen=True)
class NotMeasured:
    """Why there is no estimate."""

    reason: str


@dataclass(frozen=True)
class Known:
    """What estimates are made from: the study, measurements, and the images of each dataset."""

    study: Study
    measured: Measurements
    counts: dict[str, ImageCounts]

    def prefer_own(self, times: list[JobTime]) -> list[JobTime]:
        """Return this study's measurements if there are any, else all."""
        return [time for time in times if time.study == self.study.settings.study] or times


def estimate_jobs(jobs: Iterable[Job], known: Known) -> dict[int, Estimate | NotMeasured]:
    """Return the estimate of every job, by its number."""
    return {job.jobid: ESTIMATORS.get(job.rule, estimate_job)(job, known) for job in jobs}


def model_of(job: Job) -> ModelId:
    """Return the model that a job is about."""
    parts = job.wildcards
    return ModelId(parts["dataset"], parts["backbone"], parts["init"], parts["variant"], int(parts["seed"]))


def expected_device(job: Job, study: Study) -> str:
    """Return cpu, cuda, or auto where nobody knows yet; nothing for rules that compute without PyTorch."""
    if job.rule not in ("train", "evaluate", "explain", "profile_backbone"):
        return ""
    setting = study.settings.compute.device
    return "cuda" if setting == "auto" and job.gpus else setting


def estimate_training(job: Job, known: Known) -> Estimate | NotMeasured:
    """Estimate a training: epochs x (train images + validation images) x pixels, and its start-up."""
    counts = known.counts.get(model_of(job).dataset)
    if counts is None:
        return NotMeasured(UNKNOWN_COUNT)
    epochs = known.study.train_settings(model_of(job).variant).epochs
    images = counts.subsets
    return _from_trainings(job, known, lambda t: epochs * (images["train"] * t.train_s + images["val"] * t.val_s))


def estimate_evaluation(job: Job, known: Known) -> Estimate | NotMeasured:
    """Estimate an evaluation: the test images at the speed of validation in training, and the start-up of training."""
    counts = known.counts.get(model_of(job).dataset)
    if counts is None:
        return NotMeasured(UNKNOWN_COUNT)
    return _from_trainings(
        job, known, lambda t: counts.subsets["test"] * t.val_s, "at the speed of validation in training"
    )


def _from_trainings(
    job: Job, known: Known, seconds_of: Callable[[TrainingTime], float], *remarks: str
) -> Estimate | NotMeasured:
    times = choose_trainings(job, known)
    if not times:
        return NotMeasured(NEVER)
    scale = (_size_px(job, known) / times[0].size_px) ** 2
    startups = [time.startup_s for time in times if time.startup_s is not None]
    startup_s = median(startups) if startups else 0.0
    values = [seconds_of(time) * scale + startup_s for time in times]
    basis = _training_basis(job, known, times, (*remarks, *([] if startups else ["start-up not measured"])))
    return Estimate(median(values), min(values), max(values), basis)


def choose_trainings(job: Job, known: Known) -> list[TrainingTime]:
    """Return the trainings of a job's backbone that are closest to it.

    By kind of device, then number of GPUs, then precision, then image size, then this study before others.
    """
    model, size_px = model_of(job), _size_px(job, known)
    settings, device = known.study.train_settings(model.variant), expected_device(job, known.study)
    gpus = known.study.settings.compute.gpus if job.rule == "train" else 1  # one evaluates

    def distance(time: TrainingTime) -> tuple[bool, int, bool, float, bool]:
        pixels = round(abs(math.log(size_px / time.size_px)), 9)
        other_device, more_gpus = device != "auto" and time.device != device, abs(time.gpus - gpus)
        is_other = time.study != known.study.settings.study
        return other_device, more_gpus, time.precision != settings.precision, pixels, is_other

    times = [time for time in known.measured.trainings if time.model.backbone == model.backbone]
    closest = min(map(distance, times), default=None)
    chosen = [time for time in times if distance(time) == closest]
    return [time for time in chosen if time.size_px == chosen[0].size_px]  # 64 and 256 are as far from 128


def _size_px(job: Job, known: Known) -> int:
    return known.study.preprocess_settings(model_of(job).variant).size_px


def _training_basis(job: Job, known: Known, times: list[TrainingTime], remarks: tuple[str, ...]) -> Basis:
    device, size_px, first = expected_device(job, known.study), _size_px(job, known), times[0]
    is_other = device != "auto" and first.device != device
    gpus, precision = known.study.settings.compute.gpus, known.study.train_settings(model_of(job).variant).precision
    speeds = [1 / (time.train_s if job.rule == "train" else max(time.val_s, 1e-9)) for time in times]
    checks = {
        f"measured on {first.device}, and {device} will compute: ANOTHER DEVICE": is_other,
        f"device is auto: holds where {first.device} computes again": device == "auto",
        f"x {(size_px / first.size_px) ** 2:.3g} for pixels, {first.size_px} to {size_px} px; costs per step do not"
        f" grow with pixels, so this errs {'high' if size_px > first.size_px else 'low'}": size_px != first.size_px,
        f"compute.gpus: {first.gpus} there, {gpus} here; the time is not divided by them": job.rule == "train"
        and first.gpus != gpus,
        "in another precision": first.precision != precision,
        f"threads: {_range([t.threads for t in times], '', 'd')} there, {job.threads} here": first.device == "cpu"
        and {time.threads for time in times} != {job.threads},
    }
    return Basis(
        what=f"{job.rule} {BACKBONES[model_of(job).backbone].title}",
        measured=_count(times, "trainings"),
        places="; ".join(sorted({f"{time.device_name} on {time.host}" for time in times})),
        spread=_range(speeds, " images/s"),
        remarks=(*(remark for remark, holds in checks.items() if holds), *remarks),
        is_other_device=is_other,
    )


def estimate_by_images(job: Job, known: Known) -> Estimate | NotMeasured:
    """Estimate index or packing: seconds per image of the same kind of dataset, as decoding is nearly all of it."""
    dataset = job.wildcards["dataset"]
    counts, reader = known.counts.get(dataset), known.study.settings.datasets[dataset].reader
    if counts is None:
        return NotMeasured(UNKNOWN_COUNT)
    times = [
        time
        for time in known.measured.jobs
        if time.rule == job.rule and time.reader == reader and time.n_images and _same_source(time, known)
    ]
    per_image = [(time, time.seconds / time.n_images) for time in known.prefer_own(times) if time.n_images]
    return _from_jobs(f"{job.rule} {reader}", per_image, counts.total)


def refuse_download(job: Job, known: Known) -> NotMeasured:
    """Estimate no download: its time is the network's."""
    return NotMeasured("its time is the network's")


def estimate_drawing(job: Job, known: Known) -> Estimate | NotMeasured:
    """Estimate phantom: seconds per drawn image of the same scale."""
    times = [time for time in known.measured.jobs if time.rule == job.rule and _same_source(time, known)]
    per_image = [(time, time.seconds / _count_drawn(_read_drawn(time))) for time in times]
    drawn = _count_drawn(known.study.settings.phantoms) if known.study.settings.phantoms else 0
    return _from_jobs(job.rule, per_image, drawn)


def _count_drawn(phantoms: PhantomSettings) -> int:
    return sum(
        len(READERS[reader].published_counts) * phantoms.count_of(name) for name, reader in PHANTOM_READERS.items()
    )


def _read_drawn(time: JobTime) -> PhantomSettings:
    return parse_settings(PhantomSettings, time.drawn, f"results/{time.study}/phantoms/manifest.json, settings")


def _same_source(time: JobTime, known: Known) -> bool:
    """Return whether both are real images, or both drawn at the same scale: their sizes decide the time."""
    phantoms = known.study.settings.phantoms
    if phantoms is None or time.drawn is None:
        return phantoms is None and time.drawn is None
    return bool(phantoms.size_scale == time.drawn["size_scale"])


def estimate_job(job: Job, known: Known) -> Estimate | NotMeasured:
    """Estimate any other job: as long as such a job took, of the same backbone where it has one."""
    backbone = job.wildcards.get("backbone", "")
    times = [t for t in known.measured.jobs if t.rule == job.rule and (not backbone or backbone in t.about)]
    checks = {
        "as long as there; more images may take longer": True,
        "device not on record": bool(expected_device(job, known.study)),
        "by Snakemake's records, in which a wait in a queue counts": any(time.is_recorded for time in times),
    }
    remarks = [remark for remark, holds in checks.items() if holds]
    title = BACKBONES[backbone].title if backbone else ""
    return _from_jobs(
        f"{job.rule} {title}".strip(), [(time, time.seconds) for time in known.prefer_own(times)], 1, remarks
    )


def _from_jobs(
    what: str, times: Sequence[tuple[JobTime, float]], n: int, remarks: Sequence[str] = ("per image, x images",)
) -> Estimate | NotMeasured:
    """Return the estimate from seconds per unit, for n units."""
    if not times:
        return NotMeasured(NEVER)
    each = [seconds for _, seconds in times]
    unit, factor = (" s", 1) if n == 1 else (" ms/image", 1000)
    basis = Basis(
        what=what,
        measured=_count([time for time, _ in times], "jobs"),
        places="host not on record",
        spread=_range([seconds * factor for seconds in each], unit),
        remarks=tuple(remarks),
    )
    return Estimate(n * median(each), n * min(each), n * max(each), basis)


def _count(times: Sequence[JobTime] | Sequence[TrainingTime], unit: str) -> str:
    """Return for example `4 trainings of quick`."""
    studies = ", ".join(sorted({time.study for time in times}))
    return f"{len(times)} {unit if len(times) > 1 else unit.removesuffix('s')} of {studies}"


def _range(values: Sequence[float], unit: str, style: str = ".3g") -> str:
    low, high = format(min(values), style), format(max(values), style)
    return f"{low}{unit}" if low == high else f"{low} to {high}{unit}"


ESTIMATORS: dict[str, Callable[[Job, Known], Estimate | NotMeasured]] = {
    "train": estimate_training,
    "evaluate": estimate_evaluation,
    "index": estimate_by_images,
    "preprocess": estimate_by_images,
    "phantom": estimate_drawing,
    "fetch_weights": refuse_download,
}
