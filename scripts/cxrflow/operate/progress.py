"""How far trainings are and how long the rest takes, from what their logs say about finished epochs.

Only trainings are counted: next to them the other steps take little.
"""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrflow.config.identity import ModelId
from cxrflow.config.study import Study
from cxrflow.files.records import EpochRow
from cxrflow.models.progress import parse_epochs
from cxrflow.operate.job_schedule import Task, simulate

RECENT_EPOCHS = 5  # the time of an epoch is the median of these: a resumed training may be on another machine now


@dataclass(frozen=True)
class Progress:
    """One training.

    Attributes:
        model: that is trained.
        epochs: there will be.
        rows: of the finished ones.
        quiet_s: since the last of them ended.
    """

    model: ModelId
    epochs: int
    rows: tuple[EpochRow, ...]
    quiet_s: float

    @property
    def epoch_s(self) -> float | None:
        """Seconds of one epoch; None before the first has ended."""
        return statistics.median(row.seconds for row in self.rows[-RECENT_EPOCHS:]) if self.rows else None

    def left_s(self, epoch_s: float) -> float:
        """Seconds that the remaining epochs take."""
        return max(0, self.epochs - len(self.rows)) * epoch_s


def read_progress(study: Study, model: ModelId, log: Path, now_s: float) -> Progress:
    """Read a training's log; without one no epoch has ended."""
    epochs = study.train_settings(model.variant).epochs
    try:
        rows, written_s = tuple(parse_epochs(log.read_text("utf-8", "replace"))), log.stat().st_mtime
    except OSError:
        return Progress(model, epochs, (), 0.0)
    return Progress(model, epochs, rows, max(0.0, now_s - written_s))


@dataclass(frozen=True)
class TimeLeft:
    """The rough time until all trainings are done.

    Attributes:
        wall_s: until then, if as many run at once as now; None: nothing is known yet.
        work_s: of all of them one after the other.
        slots: how many run at once.
        by_likeness: trainings whose time is that of another one of the same backbone.
        unknown: trainings that no finished epoch says anything about; they are not counted.
    """

    wall_s: float | None
    work_s: float
    slots: int
    by_likeness: int
    unknown: int


def estimate_left(
    unfinished: Sequence[Progress], all_trainings: Sequence[Progress], running: int, n_images: Callable[[str], int]
) -> TimeLeft:
    """Estimate when all trainings are done.

    Args:
        unfinished: trainings to come, the running ones first.
        all_trainings: those that may tell how long an epoch takes.
        running: how many run now; where none does, one at a time is assumed.
        n_images: images of a dataset, 0 where that is not known yet.
    """
    own = [each.epoch_s for each in unfinished]
    like = [
        guess_epoch_s(each.model, all_trainings, n_images) if s is None else s
        for each, s in zip(unfinished, own, strict=True)
    ]
    lefts = [each.left_s(epoch_s) for each, epoch_s in zip(unfinished, like, strict=True) if epoch_s is not None]
    slots = max(1, running)
    return TimeLeft(
        wall_s=_last_end_s(lefts, slots) if lefts else None,
        work_s=sum(lefts),
        slots=slots,
        by_likeness=sum(mine is None and other is not None for mine, other in zip(own, like, strict=True)),
        unknown=sum(epoch_s is None for epoch_s in like),
    )


def _last_end_s(lefts: Sequence[float], slots: int) -> float:
    """Return when the last training ends if each starts, in this order, as soon as one of the slots is free."""
    tasks = [Task(number, left_s, needs={"slots": 1}) for number, left_s in enumerate(lefts)]
    return max(end_s for _, end_s in simulate(tasks, {"slots": slots}).values())


def guess_epoch_s(model: ModelId, others: Iterable[Progress], n_images: Callable[[str], int]) -> float | None:
    """Guess the seconds of an epoch from trainings of the same backbone, in proportion to their datasets' images."""
    alike = [other for other in others if other.model.backbone == model.backbone and other.epoch_s is not None]
    same = [other.epoch_s for other in alike if other.model.dataset == model.dataset]
    if same:
        return statistics.median(s for s in same if s is not None)
    target = n_images(model.dataset)
    scaled = [
        other.epoch_s * target / n_images(other.model.dataset)
        for other in alike
        if other.epoch_s is not None and target and n_images(other.model.dataset)
    ]
    return statistics.median(scaled) if scaled else None
