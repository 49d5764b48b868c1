"""Everything a study's stages have written, each file read once, when it is first asked for.

Reads index.json, index.csv, split.csv, test.csv, backbones/*.json, selection.json and each model's training.json,
history.csv, metrics.json, gradcam.json and .csv, and predictions.csv. Writes nothing. What is never asked for need
not exist: a check reads only what it needs.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

from cxrflow.config.backbones import BACKBONES
from cxrflow.config.layout import Layout
from cxrflow.config.made import Made, list_made, study_as_made
from cxrflow.config.missing import list_missing
from cxrflow.config.study import BASE, ModelId, Study
from cxrflow.data.overlap import SeenTest
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import read_json
from cxrflow.files.openings import OPENINGS, Opening, read_openings
from cxrflow.files.records import (
    SUBSETS,
    EpochRow,
    IndexRow,
    LocalizationRow,
    Predictions,
    SplitRow,
    read_predictions,
    read_split,
)
from cxrflow.files.tables import read_records
from cxrflow.results.bootstrap import Estimate


@dataclass(frozen=True)
class DatasetResult:
    """One dataset as it was indexed and split."""

    name: str  # its key in the config
    title: str
    folder: Path
    published: dict[str, int]  # {class: images} of the whole published set after the same rule; empty: it is not one

    @cached_property
    def index(self) -> dict[str, Any]:
        """index.json."""
        index: dict[str, Any] = read_json(self.folder / "index.json")
        return index

    @cached_property
    def split(self) -> list[SplitRow]:
        """split.csv and test.csv: the subset of every image."""
        return read_split(self.folder / "split.csv", self.folder / "test.csv")

    @cached_property
    def images(self) -> list[IndexRow]:
        """index.csv."""
        return read_records(self.folder / "index.csv", IndexRow)

    @cached_property
    def openings(self) -> list[Opening]:
        """test_openings/: who has opened the test rows, the first one first."""
        return read_openings(self.folder / OPENINGS)

    @cached_property
    def counts(self) -> dict[str, Counter[str]]:
        """{subset: {class: images}}."""
        return {subset: Counter(row.label for row in self.split if row.subset == subset) for subset in SUBSETS}

    @cached_property
    def patients(self) -> dict[str, int]:
        """{subset: patients}."""
        return {s: len({row.patient_id for row in self.split if row.subset == s}) for s in SUBSETS}

    @cached_property
    def class_patients(self) -> dict[str, Counter[str]]:
        """{subset: {class: patients}}, with 0 for a class that a subset lacks."""
        patients = {(row.subset, row.label, row.patient_id) for row in self.split}
        n_patients = Counter((subset, label) for subset, label, _ in patients)
        labels = sorted({row.label for row in self.split})
        return {subset: Counter({label: n_patients[subset, label] for label in labels}) for subset in SUBSETS}

    @property
    def n_images(self) -> int:
        """Images kept."""
        return sum(self.index["counts"].values())

    @property
    def n_published(self) -> int | None:
        """Images of the whole published set after the same rule; None where it is not a published set."""
        return sum(self.published.values()) or None


@dataclass(frozen=True)
class ModelResult:
    """One trained and evaluated model."""

    id: ModelId
    folder: Path

    @cached_property
    def training(self) -> dict[str, Any]:
        """training.json.

        Raises:
            CxrflowError: it is missing or another model's.
        """
        training: dict[str, Any] = read_json(self.folder / "training.json")
        found = {part: training.get(part) for part in ("dataset", "backbone", "init", "variant", "seed")}
        if found != {part: getattr(self.id, part) for part in found}:
            raise CxrflowError(
                f"{self.folder / 'training.json'} is of another model ({found}): delete the folder and train again"
            )
        return training

    @cached_property
    def history(self) -> list[EpochRow]:
        """history.csv, one row per epoch.

        Raises:
            CxrflowError: it is missing or has no epochs.
        """
        history: list[EpochRow] = read_records(self.folder / "history.csv", EpochRow)
        if not history:
            raise CxrflowError(f"{self.folder / 'history.csv'} has no epochs: delete it and train again")
        return history

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """metrics.json."""
        metrics: dict[str, Any] = read_json(self.folder / "metrics.json")
        return metrics

    @cached_property
    def gradcam(self) -> dict[str, Any]:
        """gradcam.json."""
        gradcam: dict[str, Any] = read_json(self.folder / "gradcam.json")
        return gradcam

    @cached_property
    def localizations(self) -> list[LocalizationRow]:
        """gradcam.csv."""
        return read_records(self.folder / "gradcam.csv", LocalizationRow)

    @property
    def is_base(self) -> bool:
        """Whether it has the study's settings, no variant's."""
        return self.id.variant == BASE

    @property
    def macro_f1(self) -> float | None:
        """Macro F1 on the test images."""
        value: float | None = self.metrics["macro_f1"]["value"]
        return value

    @property
    def epoch_kept(self) -> int:
        """The epoch whose weights are the model, from 1."""
        return int(self.training["epoch_kept"])

    @property
    def epoch_seconds(self) -> float:
        """Median wall time of an epoch, training and validation."""
        return median(row.seconds for row in self.history)

    @property
    def images_per_s(self) -> float:
        """Median training speed."""
        return median(row.images_per_s for row in self.history)

    @cached_property
    def predictions(self) -> Predictions:
        """predictions.csv."""
        return read_predictions(self.folder / "predictions.csv")

    @cached_property
    def val_predictions(self) -> Predictions:
        """val_predictions.csv."""
        return read_predictions(self.folder / "val_predictions.csv")


@dataclass(frozen=True)
class Results:
    """All results of a study."""

    study: Study  # its settings, those that its files were made with
    made: list[Made]  # the recorded settings of each file, and the config's
    root: Path  # results/<study>
    datasets: dict[str, DatasetResult]  # by name, in config order; only those with a model
    backbones: list[str]  # keys of BACKBONES; only those with a model
    models: list[ModelResult]  # in the order in which they were named

    @cached_property
    def profiles(self) -> dict[str, dict[str, Any]]:
        """backbones/<name>.json by backbone."""
        return {name: read_json(self.layout.backbone(name)) for name in self.backbones}

    @cached_property
    def probes(self) -> dict[str, dict[str, dict[str, Any]]]:
        """probes.json by dataset: the scores of each classifier without a network, in the form of metrics.json.

        Where one could not be fitted it has `absent` instead: why, a phrase.
        """
        return {name: read_json(self.layout.probe(name, "probes.json")) for name in self.datasets}

    @cached_property
    def estimates(self) -> dict[tuple[Path, ...], Estimate]:
        """Scores that were resampled, by the folders of their models: most of a page's time would go into them."""
        return {}

    def probe_predictions(self, dataset: str, probe: str) -> Predictions:
        """Return the test predictions of a classifier without a network."""
        return read_predictions(self.layout.probe(dataset, f"{probe}.csv"))

    @cached_property
    def selection(self) -> dict[str, dict[str, Any]]:
        """selection.json: by dataset the model chosen on validation images, why, and every candidate."""
        selection: dict[str, dict[str, Any]] = read_json(self.layout.selection())
        return selection

    @cached_property
    def seen_test(self) -> SeenTest:
        """Which models have seen test images of their dataset in the training they start from."""
        return SeenTest(self.study, self.layout)

    @cached_property
    def missing(self) -> dict[ModelId, str]:
        """Every model of the whole study that is not among these, and why."""
        return list_missing(self.study, self.layout, [model.id for model in self.models])

    @property
    def layout(self) -> Layout:
        """Where the study's files lie."""
        return Layout(self.root)

    @property
    def base_models(self) -> list[ModelResult]:
        """The models without a variant, ablations left out."""
        return [model for model in self.models if model.is_base]

    def select(self, models: Iterable[ModelResult] | None = None, **parts: Any) -> list[ModelResult]:
        """Return the models whose id has these parts, for example `select(dataset="covid", init="scratch")`."""
        chosen = self.models if models is None else models
        return [m for m in chosen if all(getattr(m.id, name) == value for name, value in parts.items())]

    def dataset_title(self, name: str) -> str:
        """Return a dataset's name for people."""
        return self.datasets[name].title if name in self.datasets else self.study.dataset_title(name)

    def reader_of(self, dataset: str) -> str:
        """Return who reads a dataset, which says which published set it is, whatever its key."""
        return self.study.settings.datasets[dataset].reader

    def short_title(self, model: ModelResult) -> str:
        """Return `ResNet-34, from scratch`, and the seed where the base models have several."""
        parts = [BACKBONES[model.id.backbone].title, self.study.init_title(model.id.init), self.seed_title(model)]
        return ", ".join(filter(None, parts))

    def seed_title(self, model: ModelResult) -> str:
        """Return `seed 1`, or nothing where all base models have one seed."""
        return f"seed {model.id.seed}" if len({each.id.seed for each in self.base_models}) > 1 else ""


def collect_results(root: Path, study: Study, paths: Sequence[str]) -> Results:
    """Return the results of the named models; only the records of their settings are read yet.

    root: results/<study>.
    paths: models as `dataset/backbone/init/variant/seed0`.

    Raises:
        CxrflowError: a model is not known or named twice, or none is named.
    """
    if not paths:
        raise CxrflowError(
            "no model is named: give at least one after --models, for example covid/resnet34/scratch/base/seed0"
        )
    ids = [ModelId.parse(path) for path in paths]
    for model in ids:
        _check_known(model, study, ids.count(model))
    layout = Layout(root)
    return Results(
        study=study_as_made(study, layout, ids),
        made=list(list_made(study, layout, ids)),
        root=root,
        datasets={
            name: DatasetResult(name, study.dataset_title(name), layout.dataset(name), study.published_counts(name))
            for name in study.settings.datasets
            if any(model.dataset == name for model in ids)
        },
        backbones=[name for name in BACKBONES if any(model.backbone == name for model in ids)],
        models=[ModelResult(model, layout.model(model)) for model in ids],
    )


def _check_known(model: ModelId, study: Study, times: int) -> None:
    if times > 1:
        raise CxrflowError(f"the model {model.path} is named {times} times; name it once")
    for part, known in (("dataset", study.settings.datasets), ("backbone", BACKBONES)):
        if getattr(model, part) not in known:
            raise CxrflowError(f"{model.path}: no {part} {getattr(model, part)!r} here; known: {', '.join(known)}")


def group_seeds(models: Iterable[ModelResult]) -> dict[ModelId, list[ModelResult]]:
    """Group models that differ only in their seed, under the id of the first; order is kept."""
    groups: dict[tuple[str, str, str, str], list[ModelResult]] = {}
    for model in models:
        groups.setdefault((model.id.dataset, model.id.backbone, model.id.init, model.id.variant), []).append(model)
    return {members[0].id: members for members in groups.values()}
