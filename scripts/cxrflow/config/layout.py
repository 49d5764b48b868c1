"""Which model is meant, and where every file of a study lies; nothing else joins these paths, and a test holds that.

Each method gives the path for the values it gets. With a wildcard in place of a value, `layout.index("{dataset}")`, it
gives the pattern that a rule of Snakemake takes. Standard library only.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from cxrflow.errors import CxrflowError

RESULTS = Path("results")  # of all studies, below the working directory
BASE = "base"  # the variant that overrides nothing
SCRATCH = "scratch"
IMAGENET = "imagenet"
# A model's path below the folder of all models, with Snakemake's wildcards.
PATTERN = "{dataset}/{backbone}/{init}/{variant}/seed{seed}"
FROM_DATASET = "from_"  # init from_<dataset>: the weights of that dataset's model


@dataclass(frozen=True, order=True)
class ModelId:
    """One trained model; its path below models/ is its whole identity."""

    dataset: str
    backbone: str
    init: str = SCRATCH
    variant: str = BASE
    seed: int = 0

    @property
    def path(self) -> str:
        """`{dataset}/{backbone}/{init}/{variant}/seed{seed}`, relative to results/<study>/models/."""
        return PATTERN.format(**vars(self))

    @classmethod
    def parse(cls, path: str) -> "ModelId":
        """Read a model's path back.

        Raises:
            CxrflowError: it does not have the five parts.
        """
        match = re.fullmatch(r"([^/]+)/([^/]+)/([^/]+)/([^/]+)/seed(\d+)", path)
        if not match:
            raise CxrflowError(f"{path!r} is not the path of a model: expected dataset/backbone/init/variant/seed0")
        return cls(match[1], match[2], match[3], match[4], int(match[5]))


@dataclass(frozen=True)
class Layout:
    """The files below one study's folder, `results/<study>`."""

    root: Path

    @classmethod
    def of_study(cls, study: str) -> "Layout":
        """Return the layout of a study, by its name."""
        return cls(RESULTS / study)

    # The data: phantoms, one folder per dataset, and in it one per recipe.

    def phantoms(self) -> Path:
        """Return the folder of the synthetic X-rays."""
        return self.root / "phantoms"

    def phantom_manifest(self) -> Path:
        """Return the list of the synthetic X-rays, written last."""
        return self.phantoms() / "manifest.json"

    def dataset(self, dataset: str) -> Path:
        """Return a dataset's folder."""
        return self.root / "data" / dataset

    def index(self, dataset: str) -> Path:
        """Return index.csv: the kept images."""
        return self.dataset(dataset) / "index.csv"

    def index_counts(self, dataset: str) -> Path:
        """Return index.json: how many images are kept and refused."""
        return self.dataset(dataset) / "index.json"

    def rejects(self, dataset: str) -> Path:
        """Return rejects.csv: the refused images and why."""
        return self.dataset(dataset) / "rejects.csv"

    def regions(self, dataset: str) -> Path:
        """Return regions.csv: annotated lesions and lungs."""
        return self.dataset(dataset) / "regions.csv"

    def split(self, dataset: str) -> Path:
        """Return split.csv: the subset of every image."""
        return self.dataset(dataset) / "split.csv"

    def recipe(self, dataset: str, recipe: str) -> Path:
        """Return the folder of a dataset's images under one preprocessing."""
        return self.dataset(dataset) / recipe

    def images(self, dataset: str, recipe: str) -> Path:
        """Return images.npy: the packed images."""
        return self.recipe(dataset, recipe) / "images.npy"

    def image_table(self, dataset: str, recipe: str) -> Path:
        """Return images.csv: which image each of the packed ones is."""
        return self.images(dataset, recipe).with_suffix(".csv")

    # The models: one folder each.

    def models(self) -> Path:
        """Return the folder of all models."""
        return self.root / "models"

    def model(self, model: ModelId | str) -> Path:
        """Return a model's folder; a str is its path below the folder of all models, or a pattern of such paths."""
        return self.models() / (model if isinstance(model, str) else model.path)

    def model_file(self, model: ModelId | str, name: str) -> Path:
        """Return a file of a model, such as model.pt or metrics.json."""
        return self.model(model) / name

    # All models together.

    def backbone(self, backbone: str) -> Path:
        """Return what a backbone costs, measured."""
        return self.root / "backbones" / f"{backbone}.json"

    def weights_log(self, file: str) -> Path:
        """Return the log of a download of ImageNet weights; the weights themselves are shared by all studies."""
        return self.root / "weights" / f"{file}.log"

    def summary(self, name: str = "") -> Path:
        """Return the folder of the tables and figures that compare models, or a file in it."""
        return self.root / "summary" / name

    def check(self, name: str) -> Path:
        """Return the verdict of a check."""
        return self.root / "checks" / f"{name}.json"

    def selection(self) -> Path:
        """Return the model chosen for each dataset."""
        return self.root / "selection.json"

    def report(self) -> Path:
        """Return the page."""
        return self.root / "report.html"
