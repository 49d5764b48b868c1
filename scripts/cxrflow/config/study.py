"""A study: which models there are, where their files lie, and which settings each stage gets.

Read by the Snakefile while it plans and by `summarize` while it collects. Imports no torch: a dry run stays fast.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cxrflow.config.backbones import BACKBONES
from cxrflow.config.layout import BASE, FROM_DATASET, FROM_WEIGHTS, IMAGENET, SCRATCH, CandidateId, Layout, ModelId
from cxrflow.config.parsing import override_settings
from cxrflow.config.readers import READERS, SharedImages, list_shared
from cxrflow.config.settings import (
    ComputeSettings,
    DatasetSettings,
    PreprocessSettings,
    SelectSettings,
    StudySettings,
    TrainSettings,
    TuneSettings,
    VariantSettings,
)
from cxrflow.config.tuning import list_recipes
from cxrflow.config.variants import ablated_variants, read_config_variants
from cxrflow.errors import CxrflowError

__all__ = ["BASE", "FROM_DATASET", "IMAGENET", "SCRATCH", "UNFINISHED", "ModelId", "Study", "recipe_name"]

TRANSFER_RATE = "transfer_learning_rate_scale"  # of the train settings
UNFINISHED = "unfinished"  # in leave_out: not a dataset, but every model that is not finished


@dataclass(frozen=True)
class Study:
    """A checked config and what follows from it. Build one with `loading.load_study`.

    Attributes:
        settings: of the whole study; its variants are those of the config, and those that finished searches have found.
    """

    settings: StudySettings

    @property
    def layout(self) -> Layout:
        """Where everything that this study writes lies."""
        return Layout.of_study(self.settings.study)

    @property
    def data_root(self) -> str:
        """Folder that holds the datasets' folders: the user's, or that of the phantoms."""
        return str(self.layout.phantoms()) if self.settings.phantoms else self.settings.data_root

    def datasets(self) -> list[str]:
        """Return the datasets of the study, in config order, without those that are left out."""
        return [name for name in self.settings.datasets if name not in self.settings.leave_out]

    @property
    def has_findings(self) -> bool:
        """Whether an image may have several labels, or none; then so in every dataset."""
        return any(data.findings for data in self.settings.datasets.values())

    def dataset_folder(self, dataset: str) -> Path:
        """Return the raw folder of a dataset."""
        return Path(self.data_root) / self.settings.datasets[dataset].folder

    def reader_settings(self, dataset: str) -> DatasetSettings:
        """Return what decides a dataset's index: not where it is, nor what only the report shows."""
        return replace(self.settings.datasets[dataset], folder="", title="", citation="")

    def dataset_title(self, dataset: str) -> str:
        """Return a dataset's name for tables and figures."""
        return self.settings.datasets[dataset].title or dataset

    def published_counts(self, dataset: str) -> dict[str, int]:
        """Return the images per class of the whole published set; empty where a dataset is not one."""
        data = self.settings.datasets[dataset]
        return {} if self.settings.phantoms else READERS[data.reader].count_published(data.classes, data.findings)

    def model_title(self, model: ModelId) -> str:
        """Return a model's name for figures, for example `ResNet-34 on COVID-19 Radiography, from scratch, seed 0`.

        The seed is always in it: the name of a model must not change when the study gets more of them.
        """
        return self._name_model(model, self.dataset_title(model.dataset), self.init_title(model.init))

    def model_name(self, model: ModelId) -> str:
        """Return a model's name by the keys of the config, which another title of a dataset does not change."""
        init = model.init if model.init.startswith(FROM_DATASET) else self.init_title(model.init)
        return self._name_model(model, model.dataset, init)

    def _name_model(self, model: ModelId, dataset: str, init: str) -> str:
        how = [init, *[model.variant] * (model.variant != BASE), f"seed {model.seed}"]
        return f"{BACKBONES[model.backbone].title} on {dataset}, {', '.join(how)}"

    def candidate_title(self, candidate: CandidateId) -> str:
        """Return the name of what can be chosen, for example `ResNet-34, from scratch, ensemble of 3 seeds, flip`."""
        first, n = candidate.members[0], len(candidate.members)
        parts = [BACKBONES[first.backbone].title, self.init_title(first.init)]
        return ", ".join([*parts, *[f"ensemble of {n} seeds"] * (n > 1), *["flip"] * candidate.flip])

    def list_timed_forms(self, backbone: str, models: Iterable[ModelId]) -> list[str]:
        """Return the forms, `CandidateId.form`, of all candidates of a backbone, and of one network alone."""
        groups = group_seeds(model for model in models if model.backbone == backbone and model.variant == BASE)
        found = (form.form for seeds in groups for form in list_forms(seeds, self.settings.select))
        return list(dict.fromkeys(["1", *found]))

    def init_title(self, init: str) -> str:
        """Return how a model starts, in words."""
        if init == SCRATCH:
            return "from scratch"
        if init == IMAGENET:
            return "from ImageNet"
        if init.startswith(FROM_WEIGHTS):
            name = init.removeprefix(FROM_WEIGHTS)
            return f"from {name}" + ", probed" * (self.settings.weights[name].head == "probe")
        return f"from {self.dataset_title(init.removeprefix(FROM_DATASET))}"

    def models(self) -> list[ModelId]:
        """Return every model of the study: from scratch, by transfer, ablations; datasets in config order."""
        return [
            model
            for dataset in self.datasets()
            for seed in self.settings.seeds
            for model in [
                *(ModelId(dataset, backbone, seed=seed) for backbone in self.settings.backbones),
                *self._transferred(dataset, seed),
                *self._ablated(dataset, seed),
                *self._tuned(dataset, seed),
            ]
        ]

    def _transferred(self, dataset: str, seed: int) -> list[ModelId]:
        everything = self.settings.transfer_all_backbones
        models = [
            ModelId(dataset, backbone, each.init, seed=seed)
            for each in self.settings.transfer.get(dataset, ())
            if each.init.removeprefix(FROM_DATASET) not in self.settings.leave_out
            for backbone in (
                self.settings.backbones if everything and not each.init.startswith(FROM_WEIGHTS) else (each.backbone,)
            )
        ]
        return list(dict.fromkeys(models))

    def _ablated(self, dataset: str, seed: int) -> list[ModelId]:
        ablation = self.settings.ablation
        if ablation.datasets and dataset not in ablation.datasets:
            return []
        backbones = ablation.backbones or self.settings.backbones
        base = [ModelId(dataset, backbone, seed=seed) for backbone in backbones]
        transferred = self._transferred(dataset, seed)
        base += transferred if ablation.transferred else []
        return [
            replace(model, variant=variant)
            for variant in ablated_variants(self.settings)
            for model in (transferred if self._is_of_transfer(variant) else base)
        ]

    def _is_of_transfer(self, variant: str) -> bool:
        """Return whether a variant overrides only what transferred models alone have."""
        overrides = self.variants().get(variant, VariantSettings())
        return set(overrides.train) == {TRANSFER_RATE} and not overrides.preprocess

    def searches(self) -> dict[str, TuneSettings]:
        """Return the searches by name, with their rungs, without those on datasets that are left out."""
        return {
            name: replace(tune, rungs=tune.rungs or (self.settings.train.epochs,))
            for name, tune in self.settings.tune.items()
            if tune.dataset in self.datasets()
        }

    def _tuned(self, dataset: str, seed: int) -> list[ModelId]:
        """Return the models of the settings that finished searches have found."""
        return [
            ModelId(dataset, tune.backbone, tune.init, name, seed)
            for name, tune in self.searches().items()
            if tune.dataset == dataset and name in self.settings.variants
        ]

    def base_settings(self) -> dict[str, PreprocessSettings | TrainSettings]:
        """Return the settings that variants and searches change, by section."""
        return {"preprocess": self.settings.preprocess, "train": self.settings.train}

    def preprocess_settings(self, variant: str) -> PreprocessSettings:
        """Return the preprocessing of a variant, its overrides applied."""
        overrides = self._variant(variant).preprocess
        return override_settings(self.settings.preprocess, overrides, f"variants.{variant}.preprocess")

    def train_settings(self, variant: str) -> TrainSettings:
        """Return the training of a variant, its overrides applied."""
        return override_settings(self.settings.train, self._variant(variant).train, f"variants.{variant}.train")

    def variants(self) -> dict[str, VariantSettings]:
        """Return every variant by name: first the base, which overrides nothing."""
        return {BASE: VariantSettings(), **read_config_variants(self.settings)}

    def _variant(self, name: str) -> VariantSettings:
        variants = self.variants()
        if name not in variants:
            raise CxrflowError(
                f"{name!r} is not a variant of this study; known: {', '.join(variants)}. Add it under variants: in the"
                " config"
            )
        return variants[name]

    def recipe(self, variant: str = BASE) -> str:
        """Return the folder name of a variant's packed images; variants with equal preprocessing share it."""
        return recipe_name(self.preprocess_settings(variant))

    def recipes(self) -> dict[str, PreprocessSettings]:
        """Return every recipe of the study by name."""
        settings = [*map(self.preprocess_settings, self.variants())]
        settings += [each for tune in self.searches().values() for each in list_recipes(tune, self.base_settings())]
        return {recipe_name(each): each for each in settings}

    def settings_without_places(self) -> StudySettings:
        """Return the settings that can change a result: where data and weights lie and what computes is left out."""
        default = StudySettings
        return replace(
            self.settings,
            data_root=default.data_root,
            weights_root=default.weights_root,
            weights_url=default.weights_url,
            compute=ComputeSettings(),
            datasets={name: replace(data, folder="") for name, data in self.settings.datasets.items()},
        )

    def list_untraced(self, model: ModelId) -> list[SharedImages]:
        """Return what is written of images common to a model's dataset and the one it starts from, and not traced."""
        if self.settings.phantoms or not model.init.startswith(FROM_DATASET):
            return []
        names = model.init.removeprefix(FROM_DATASET), model.dataset
        source, own = (self.settings.datasets[name].reader for name in names)
        return [each for each in list_shared(source, own) if not each.is_traced]

    def list_reasons(self, model: ModelId) -> list[str]:
        """Return why a model may have seen test images where no image shows it, each as a phrase after "because"."""
        reasons = [each.words for each in self.list_untraced(model)]
        if model.init.startswith(FROM_WEIGHTS) and not self.settings.phantoms:
            seen, own = self.settings.weights[model.init.removeprefix(FROM_WEIGHTS)].trained_on, self.settings.datasets
            reader = own[model.dataset].reader
            reasons += [f"its weights have seen images of {READERS[reader].title}"] * (reader in seen)
            reasons += [each.words for source in seen if source != reader for each in list_shared(source, reader)]
        return reasons

    def may_have_seen_test(self, model: ModelId) -> bool:
        """Return whether a model starts from what may have seen its test images, as far as is written."""
        return bool(self.list_reasons(model))

    def missing_data(self) -> list[str]:
        """Return one line per dataset whose folder does not exist yet, with where it is expected."""
        if self.settings.phantoms:
            return []
        return [
            f"{name}: {self.dataset_folder(name)} does not exist yet; put {READERS[data.reader].layout} into it,"
            " name the folder of the data with --config data_root=DIR, or go without this dataset with"
            f" --config 'leave_out=[{name}]'"
            for name, data in self.settings.datasets.items()
            if name not in self.settings.leave_out and not self.dataset_folder(name).is_dir()
        ]


def group_seeds(models: Iterable[ModelId]) -> list[list[ModelId]]:
    """Return the models with those that differ in their seed alone together, in order of appearance."""
    groups: dict[ModelId, list[ModelId]] = {}
    for model in models:
        groups.setdefault(replace(model, seed=0), []).append(model)
    return list(groups.values())


def list_forms(seeds: Sequence[ModelId], select: SelectSettings) -> list[CandidateId]:
    """Return what can be made of a model's seeds: it alone, their ensemble, and each of these with flip."""
    groups = [(seeds[0],), *[tuple(seeds)] * (select.ensembles and len(seeds) > 1)]
    return [CandidateId(members, flip) for flip in (False, True)[: 1 + select.flip] for members in groups]


def recipe_name(settings: PreprocessSettings) -> str:
    """Name a preprocessing by what it does, for example `256px-equalized-blur5`."""
    steps = {
        f"{settings.size_px}px": True,
        "equalized": settings.equalize == "histogram",
        f"clahe{settings.clahe_clip:g}x{settings.clahe_tiles}": settings.equalize == "clahe",
        f"gamma{settings.gamma:g}": settings.gamma != 1,
        f"blur{settings.blur_px}": settings.blur_px > 0,
    }
    return "-".join(name for name, is_taken in steps.items() if is_taken)
