"""How much disk a plan will fill. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from cxrflow.operate.dry_run import Job
from cxrflow.operate.estimate import Known, model_of
from cxrflow.operate.measurements import PICTURES
from cxrflow.operate.run_profile import RunProfile

BYTES_PER_WEIGHT = 4  # float32; features too
# Two checkpoints are kept of a training that runs, each with the weights, Adam's two moments and the best weights.
CHECKPOINT_MODELS = 2 * 4


@dataclass(frozen=True)
class DiskUse:
    """What one kind of file takes.

    Attributes:
        what: the files.
        size: bytes; None where it was not measured.
        source: how it is known.
        is_temporary: whether it is gone at the end.
    """

    what: str
    size: int | None
    source: str
    is_temporary: bool = False


def estimate_disk(jobs: Sequence[Job], known: Known, profile: RunProfile) -> list[DiskUse]:
    """Return the disk that the jobs' files take, kinds without a job left out."""
    by_rule = {rule: [job for job in jobs if job.rule == rule] for rule in {job.rule for job in jobs}}
    uses = [
        DiskUse("drawn X-rays", None, "not measured") if "phantom" in by_rule else None,
        _sum("packed images", "images x pixels", by_rule.get("preprocess", []), lambda job: packed_bytes(job, known)),
        _sum("models", "model.pt of earlier runs, else published parameters", by_rule.get("train", []), _models(known)),
        _checkpoints(by_rule.get("train", []), known, profile),
        _sum("features", "test images x features", by_rule.get("evaluate", []), lambda job: _feature_bytes(job, known)),
        *(_pictures(by_rule.get(rule, []), rule, known) for rule in PICTURES),
    ]
    return [use for use in uses if use is not None]


def packed_bytes(job: Job, known: Known) -> int | None:
    """Return the size of images.npy: one byte per pixel; None where the number of images is unknown."""
    counts = known.counts.get(job.wildcards["dataset"])
    return counts.total * known.study.recipes()[job.wildcards["recipe"]].size_px ** 2 if counts else None


def model_bytes(backbone: str, known: Known) -> int:
    """Return the size of model.pt: measured, else 4 bytes for each published parameter."""
    sizes = known.measured.model_bytes.get(backbone)
    return int(median(sizes) if sizes else 25e6 * BYTES_PER_WEIGHT)


def _models(known: Known) -> Callable[[Job], int]:
    return lambda job: model_bytes(model_of(job).backbone, known)


def _feature_bytes(job: Job, known: Known) -> int | None:
    counts = known.counts.get(model_of(job).dataset)
    n_features = 1280
    return counts.subsets["test"] * n_features * BYTES_PER_WEIGHT if counts else None


def _checkpoints(jobs: Sequence[Job], known: Known, profile: RunProfile) -> DiskUse | None:
    """Return the most that the checkpoints of trainings that run at once take."""
    if not jobs:
        return None
    needs = profile.needs_of(jobs[0])
    at_once = min(limit // needs[name] for name, limit in profile.limits.items() if needs[name])
    largest = sorted(map(_models(known), jobs), reverse=True)[: max(1, at_once)]
    source = f"{CHECKPOINT_MODELS} models for each training at once, here {len(largest)}"
    return DiskUse("checkpoints while training", CHECKPOINT_MODELS * sum(largest), source, is_temporary=True)


def _pictures(jobs: Sequence[Job], rule: str, known: Known) -> DiskUse | None:
    sizes = known.measured.picture_bytes.get(rule)
    n = sum(path.endswith(".png") for job in jobs for path in job.outputs)
    if not n:
        return None
    size = int(n * median(sizes)) if sizes else None
    return DiskUse(f"pictures of {rule}", size, "as large as in earlier runs" if sizes else "")


def _sum(what: str, source: str, jobs: Sequence[Job], size_of: Callable[[Job], int | None]) -> DiskUse | None:
    if not jobs:
        return None
    sizes = [size for size in map(size_of, jobs) if size is not None]
    missing = len(jobs) - len(sizes)
    note = f"; {missing} of {len(jobs)} left out: number of images unknown" if missing else ""
    return DiskUse(what, sum(sizes) if sizes else None, source + note)
