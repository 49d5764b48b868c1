"""A study: which models there are, where their files lie, and which settings each stage gets.

Read by the Snakefile while it plans and by `summarize` while it collects. Imports no torch: a dry run stays fast.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cxrflow.config.backbones import BACKBONES
from cxrflow.config.identity import BASE, FROM_DATASET, IMAGENET, SCRATCH, ModelId
from cxrflow.config.layout import Layout
from cxrflow.config.parsing import find_problems, override_settings, raise_problems
from cxrflow.config.readers import PHANTOM_READERS, READERS
from cxrflow.config.settings import (
    ComputeSettings,
    DatasetSettings,
    PreprocessSettings,
    StudySettings,
    TrainSettings,
    VariantSettings,
    parse_settings,
    settings_dict,
)
from cxrflow.errors import CxrflowError

__all__ = ["BASE", "FROM_DATASET", "IMAGENET", "NAME", "SCRATCH", "ModelId", "Study", "load_study", "recipe_name"]

NAME = r"[A-Za-z0-9][A-Za-z0-9_.+-]*"  # what a study, dataset or variant may be called: it becomes a folder


@dataclass(frozen=True)
class Study:
    """A checked config and what follows from it. Build one with `load_study`."""

    settings: StudySettings

    @property
    def layout(self) -> Layout:
        """Where everything that this study writes lies."""
        return Layout.of_study(self.settings.study)

    @property
    def results(self) -> str:
        """Folder of everything that this study writes."""
        return str(self.layout.root)

    @property
    def data_root(self) -> str:
        """Folder that holds the datasets' folders: the user's, or where the phantoms are drawn."""
        return str(self.layout.phantoms()) if self.settings.phantoms else self.settings.data_root

    def dataset_folder(self, dataset: str) -> Path:
        """Return the raw folder of a dataset."""
        return Path(self.data_root) / self.settings.datasets[dataset].folder

    def reader_settings(self, dataset: str) -> DatasetSettings:
        """Return what decides a dataset's index: all but its title and citation, which the report reads by itself."""
        return replace(self.settings.datasets[dataset], title="", citation="")

    def dataset_title(self, dataset: str) -> str:
        """Return a dataset's name for tables and figures."""
        return self.settings.datasets[dataset].title or dataset

    def model_title(self, model: ModelId) -> str:
        """Return a model's name for figures, for example `ResNet-34 on COVID-19 Radiography, from scratch`."""
        extras = [model.variant] * (model.variant != BASE) + [f"seed {model.seed}"] * (len(self.settings.seeds) > 1)
        how = [self.init_title(model.init), *extras]
        return f"{BACKBONES[model.backbone].title} on {self.dataset_title(model.dataset)}, {', '.join(how)}"

    def init_title(self, init: str) -> str:
        """Return how a model starts, in words."""
        if init == SCRATCH:
            return "from scratch"
        if init == IMAGENET:
            return "from ImageNet"
        return f"from {self.dataset_title(init.removeprefix(FROM_DATASET))}"

    def backbones(self) -> list[str]:
        """Return the backbones of the study's models, in table order."""
        used = {model.backbone for model in self.models()}
        return [name for name in BACKBONES if name in used]

    def models(self) -> list[ModelId]:
        """Return every model of the study: from scratch, by transfer, ablations; datasets in config order."""
        return [
            model
            for dataset in self.settings.datasets
            for seed in self.settings.seeds
            for model in [
                *(ModelId(dataset, backbone, seed=seed) for backbone in self.settings.backbones),
                *self._transferred(dataset, seed),
                *self._ablated(dataset, seed),
            ]
        ]

    def _transferred(self, dataset: str, seed: int) -> list[ModelId]:
        transfer = self.settings.transfer.get(dataset)
        if transfer is None:
            return []
        backbones = self.settings.backbones if self.settings.transfer_all_backbones else (transfer.backbone,)
        return [ModelId(dataset, backbone, transfer.init, seed=seed) for backbone in backbones]

    def _ablated(self, dataset: str, seed: int) -> list[ModelId]:
        ablation = self.settings.ablation
        if ablation.datasets and dataset not in ablation.datasets:
            return []
        backbones = ablation.backbones or self.settings.backbones
        return [ModelId(dataset, backbone, variant=v, seed=seed) for v in ablation.variants for backbone in backbones]

    def preprocess_settings(self, variant: str) -> PreprocessSettings:
        """Return the preprocessing of a variant, its overrides applied."""
        return override_settings(
            self.settings.preprocess, self._variant(variant).preprocess, f"variants.{variant}.preprocess"
        )

    def train_settings(self, variant: str) -> TrainSettings:
        """Return the training of a variant, its overrides applied."""
        return override_settings(self.settings.train, self._variant(variant).train, f"variants.{variant}.train")

    def _variant(self, name: str) -> VariantSettings:
        if name == BASE:
            return VariantSettings()
        if name not in self.settings.variants:
            known = ", ".join([BASE, *self.settings.variants])
            raise CxrflowError(
                f"{name!r} is no variant of this study; known: {known}. Add it under variants: in the config"
            )
        return self.settings.variants[name]

    def recipe(self, variant: str = BASE) -> str:
        """Return the folder name of a variant's packed images; variants with equal preprocessing share it."""
        return recipe_name(self.preprocess_settings(variant))

    def recipes(self) -> dict[str, PreprocessSettings]:
        """Return every recipe of the study by name."""
        settings = [self.preprocess_settings(variant) for variant in (BASE, *self.settings.variants)]
        return {recipe_name(each): each for each in settings}

    def settings_without_places(self) -> StudySettings:
        """Return the settings that can change a result: where data and weights lie and what computes is left out."""
        default = StudySettings
        return replace(
            self.settings,
            data_root=default.data_root,
            weights_root=default.weights_root,
            compute=ComputeSettings(),
        )

    def may_have_seen_test(self, model: ModelId) -> bool:
        """Return whether a model starts from one of a published set that has images in common with its own."""
        if self.settings.phantoms or not model.init.startswith(FROM_DATASET):
            return False
        source, own = (
            self.settings.datasets[name].reader for name in (model.init.removeprefix(FROM_DATASET), model.dataset)
        )
        return source in READERS[own].shares_images_with

    def missing_data(self) -> list[str]:
        """Return one line per dataset whose folder is not there yet, with where it is expected."""
        if self.settings.phantoms:
            return []
        return [
            f"{name}: {self.dataset_folder(name)} is not there yet; put {READERS[data.reader].layout} into it,"
            " or say where the data is with --config data_root=DIR"
            for name, data in self.settings.datasets.items()
            if not self.dataset_folder(name).is_dir()
        ]


def recipe_name(settings: PreprocessSettings) -> str:
    """Name a preprocessing by what it does, for example `256px-equalized-blur5`."""
    steps = [f"{settings.size_px}px"]
    if settings.equalize:
        steps.append("equalized")
    if settings.blur_px:
        steps.append(f"blur{settings.blur_px}")
    return "-".join(steps)


def load_study(config: Mapping[str, Any]) -> Study:
    """Check a config in full and return its study.

    Raises:
        CxrflowError: unknown or mistyped keys, wrong types, names that do not exist; every problem in one message.
    """
    if not config:
        raise CxrflowError(
            "no study is chosen: add --configfile config/demo.yaml, config/quick.yaml or config/lungs.yaml"
        )
    study = Study(parse_settings(StudySettings, config, "config"))
    raise_problems(_problems(study))
    return study


def _problems(study: Study) -> list[str]:
    """Return what is wrong between settings that are each right by themselves."""
    settings = study.settings
    names = [settings.study, *settings.datasets, *settings.variants]
    problems = [
        f"config: {n!r} cannot name a folder: use letters, digits, _ . + -" for n in names if not re.fullmatch(NAME, n)
    ]
    for name, data in settings.datasets.items():
        problems += _unknown(f"config.datasets.{name}.reader", data.reader, READERS)
    for drawn in settings.phantoms.images_per_class_of if settings.phantoms else ():
        problems += _unknown("config.phantoms.images_per_class_of", drawn, PHANTOM_READERS)
    for backbone in settings.backbones:
        problems += _unknown("config.backbones", backbone, BACKBONES)
    for variant in settings.ablation.variants:
        problems += _unknown("config.ablation.variants", variant, settings.variants)
    for dataset in settings.ablation.datasets:
        problems += _unknown("config.ablation.datasets", dataset, settings.datasets)
    for backbone in settings.ablation.backbones:
        problems += _unknown("config.ablation.backbones", backbone, BACKBONES)
    for dataset, transfer in settings.transfer.items():
        problems += _unknown("config.transfer", dataset, settings.datasets)
        problems += _unknown(f"config.transfer.{dataset}.backbone", transfer.backbone, BACKBONES)
        inits = [IMAGENET, *(FROM_DATASET + other for other in settings.datasets if other != dataset)]
        problems += _unknown(f"config.transfer.{dataset}.init", transfer.init, inits)
        transferred = settings.backbones if settings.transfer_all_backbones else (transfer.backbone,)
        problems += [
            f"config.transfer.{dataset}: {name} has no ImageNet weights (scripts/cxrflow/config/backbones.py)"
            for name in transferred
            if transfer.init == IMAGENET and name in BACKBONES and BACKBONES[name].imagenet is None
        ]
    if BASE in settings.variants:
        problems.append(f"config.variants.{BASE}: this name is taken by the settings without overrides")
    if abs(settings.split.train + settings.split.val + settings.split.test - 1) > 1e-9:
        problems.append("config.split: train, val and test must add up to 1")
    for variant in (BASE, *settings.variants):
        problems += _variant_problems(study, variant)
    return problems


def _unknown(where: str, name: str, known: Any) -> list[str]:
    return [] if name in known else [f"{where}: {name!r} is not known; known: {', '.join(known) or 'none'}"]


def _variant_problems(study: Study, name: str) -> list[str]:
    """Return what is wrong with a variant's settings once its overrides are merged in."""
    problems = []
    variant = study._variant(name)
    for section, base, overrides in (
        ("preprocess", study.settings.preprocess, variant.preprocess),
        ("train", study.settings.train, variant.train),
    ):
        merged = {**settings_dict(base), **overrides}
        problems += find_problems(type(base), merged, f"config.variants.{name}.{section}")
    return problems or _contradictions(study, name)


def _contradictions(study: Study, name: str) -> list[str]:
    """Return which valid settings of a variant do not go together."""
    problems = []
    kernel = study.preprocess_settings(name).blur_px
    if kernel and kernel % 2 == 0:
        problems.append(f"config.preprocess.blur_px ({name}): {kernel} is even; a kernel has a middle pixel")
    return problems
