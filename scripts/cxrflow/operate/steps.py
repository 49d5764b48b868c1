"""Every step that a study's report needs: its rule, its wildcards, its log and the files it makes.

The rules in workflow/rules/ say the same to Snakemake; a test holds both together. Read without Snakemake, so that
asking costs no planning, takes no lock, and works while a run is under way.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cxrflow.config.backbones import BACKBONES
from cxrflow.config.identity import IMAGENET, ModelId
from cxrflow.config.study import Study
from cxrflow.report.summary import SUMMARY_FILES

# What each rule makes of one model, in the order of the way.
MODEL_OUTPUTS = {
    "train": ("model.pt", "model.pt.sha256", "history.csv", "training.json"),
    "evaluate": ("predictions.csv", "features.npy"),
    "score": ("metrics.json", "confusion.png"),
    "embed": ("tsne.csv", "tsne.png"),
    "explain": ("gradcam.png", "gradcam.csv", "gradcam.json"),
}
RESUMING_RULES = ("train", "preprocess")  # the others share the folder, and not the lease
DATA_RULES = ("phantom", "index", "split", "preprocess", "samples", "fetch_weights")
SUMMARY_RULES = ("profile_backbone", "summarize", "report")
RULES = frozenset({*DATA_RULES, *MODEL_OUTPUTS, *SUMMARY_RULES})


@dataclass(frozen=True)
class Step:
    """One job of the study.

    Attributes:
        rule: that makes it.
        wildcards: their values, in the order in which the rule's files name them.
        outputs: all of them, relative to the working directory.
        log: beside them.
        model: whose step it is; None: it belongs to the data or to all models.
    """

    rule: str
    wildcards: tuple[str, ...]
    outputs: tuple[Path, ...]
    log: Path
    model: ModelId | None = None

    @property
    def label(self) -> str:
        """How a user finds it: the model's path, or the wildcards."""
        return self.model.path if self.model else " ".join(self.wildcards)

    @property
    def wildcards_text(self) -> str:
        """The wildcards as the Slurm plugin writes them into comments and folders of logs."""
        return "_".join(self.wildcards).replace("/", "_")

    @property
    def comment(self) -> str:
        """The comment of its Slurm job."""
        return f"rule_{self.rule}" + (f"_wildcards_{self.wildcards_text}" if self.wildcards else "")

    @property
    def lease(self) -> Path | None:
        """The file in which its worker says that it lives; None: its rule has no resume folder."""
        return self.log.parent / "resume/lease.json" if self.rule in RESUMING_RULES else None


def expected_steps(study: Study) -> list[Step]:
    """Return every step of a study's report, in the order of the way."""
    return [*_data_steps(study), *_weights_steps(study), *_model_steps(study), *_summary_steps(study)]


def _data_steps(study: Study) -> Iterator[Step]:
    root = Path(study.results)
    if study.settings.phantoms:
        yield Step("phantom", (), (root / "phantoms/manifest.json",), root / "phantoms.log")
    index = ("index.csv", "rejects.csv", "regions.csv", "index.json")
    for dataset in study.settings.datasets:
        folder = root / "data" / dataset
        yield Step("index", (dataset,), tuple(folder / name for name in index), folder / "index.log")
        yield Step("split", (dataset,), (folder / "split.csv",), folder / "split.log")
        variants = {model.variant for model in study.models() if model.dataset == dataset}
        for recipe in sorted({study.recipe(), *map(study.recipe, variants)}):
            packed = folder / recipe
            yield Step("preprocess", (dataset, recipe), (packed / "images.npy",), packed / "preprocess.log")
        shown = folder / study.recipe()
        pictures = (shown / "samples.png", shown / "before_after.png")
        yield Step("samples", (dataset, study.recipe()), pictures, shown / "samples.log")


def _weights_steps(study: Study) -> Iterator[Step]:
    for name in imagenet_weights(study):
        log = Path(study.results, "weights", name).with_suffix(".log")
        yield Step("fetch_weights", (Path(name).stem,), (Path(study.settings.weights_root, name),), log)


def imagenet_weights(study: Study) -> list[str]:
    """Return the files of ImageNet weights that a study's models start from."""
    entries = [BACKBONES[model.backbone].imagenet for model in study.models() if model.init == IMAGENET]
    return sorted({entry.file for entry in entries if entry})


def _model_steps(study: Study) -> Iterator[Step]:
    for rule, names in MODEL_OUTPUTS.items():
        for model in study.models():
            folder = Path(study.results, "models", model.path)
            wildcards = (model.dataset, model.backbone, model.init, model.variant, str(model.seed))
            yield Step(rule, wildcards, tuple(folder / name for name in names), folder / f"{rule}.log", model)


def _summary_steps(study: Study) -> Iterator[Step]:
    root = Path(study.results)
    for backbone in study.backbones():
        profile = root / "backbones" / f"{backbone}.json"
        yield Step("profile_backbone", (backbone,), (profile,), profile.with_suffix(".log"))
    summary = root / "summary"
    yield Step("summarize", (), tuple(summary / name for name in SUMMARY_FILES), summary / "summarize.log")
    yield Step("report", (), (root / "report.html",), root / "report.log")
