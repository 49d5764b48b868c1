"""Which model is meant, and where every file of a study lies; nothing else joins these paths, and a test holds that.

Each method gives the path for the values it gets, in the order of the braces. With a wildcard in place of a value,
`layout.index("{dataset}")`, it gives the pattern that a rule of Snakemake takes. Standard library only.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from cxrflow.errors import CxrflowError

RESULTS = Path("results")  # of all studies, below the working directory
BASE = "base"  # the variant that overrides nothing
SCRATCH = "scratch"
IMAGENET = "imagenet"
# A model's path below the folder of all models, with Snakemake's wildcards.
PATTERN = "{dataset}/{backbone}/{init}/{variant}/seed{seed}"
FLIP = "/flip"  # ends the path of a candidate that also looks at the mirror image
FROM_WEIGHTS = "weights_"  # init weights_<name>: a file that the config names
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
class CandidateId:
    """What can be chosen and delivered: a model or an ensemble of its seeds, with or without flip.

    Attributes:
        members: models that differ in their seed alone; the answer is the mean of their probabilities.
        flip: each of them also answers for the mirror image, and that counts as much.
    """

    members: tuple[ModelId, ...]
    flip: bool = False

    @property
    def path(self) -> str:
        """`{dataset}/{backbone}/{init}/{variant}/seed0+1+2/flip`: the path of a model, with all seeds."""
        seeds = "+".join(str(member.seed) for member in self.members[1:])
        return self.members[0].path + f"+{seeds}" * bool(seeds) + FLIP * self.flip

    @property
    def form(self) -> str:
        """`3/flip`: how many networks answer, and whether for the mirror image, too; what its time depends on."""
        return f"{len(self.members)}{FLIP * self.flip}"

    @classmethod
    def parse(cls, path: str) -> "CandidateId":
        """Read a path back.

        Raises:
            CxrflowError: it is not the path of a model, or of several.
        """
        first, *seeds = path.removesuffix(FLIP).split("+")
        model = ModelId.parse(first)
        if not all(re.fullmatch(r"\d+", seed) for seed in seeds):
            raise CxrflowError(f"{path!r} does not name the seeds of an ensemble: expected .../seed0+1+2")
        return cls((model, *(replace(model, seed=int(seed)) for seed in seeds)), path.endswith(FLIP))


def _file(pattern: str) -> Callable[..., Path]:
    """Make a method of Layout that fills the pattern's braces with its arguments, in order."""
    n = pattern.count("{}")

    def path(self: "Layout", *parts: str) -> Path:
        if len(parts) != n:
            raise TypeError(f"{pattern}: {n} parts expected, not {len(parts)}")
        return self.root / pattern.format(*parts)

    return path


@dataclass(frozen=True)
class Layout:
    """The files below one study's folder, `results/<study>`."""

    root: Path

    @classmethod
    def of_study(cls, study: str) -> "Layout":
        """Return the layout of a study, by its name."""
        return cls(RESULTS / study)

    phantoms = _file("phantoms")  # folder of the synthetic X-rays
    phantom_manifest = _file("phantoms/manifest.json")  # the list of them, written last

    dataset = _file("data/{}")  # folder of a dataset
    index = _file("data/{}/index.csv")  # the kept images
    index_counts = _file("data/{}/index.json")  # how many images are kept and refused
    rejects = _file("data/{}/rejects.csv")  # the refused images and why
    regions = _file("data/{}/regions.csv")  # annotated lesions and lungs
    thumbnails = _file("data/{}/thumbnails.npy")  # the kept images at 128 px
    copies = _file("data/copies.csv")  # images of the study that show the same exposure, in pairs
    groups = _file("data/groups.csv")  # the images that copies join, and where they go
    lungs = _file("data/lungs.csv")  # the box around the lungs in the images of all datasets, found by a network
    lungs_scores = _file("data/lungs.json")  # how well it finds them
    split = _file("data/{}/split.csv")  # the images that train a model and choose its epoch
    test = _file("data/{}/test.csv")  # the images that test it
    recipe = _file("data/{}/{}")  # folder of a dataset's images under one preprocessing
    images = _file("data/{}/{}/images.npy")  # the packed images of split.csv
    image_table = _file("data/{}/{}/images.csv")  # which image each of them is
    test_images = _file("data/{}/{}/test/images.npy")  # the packed images of test.csv
    test_table = _file("data/{}/{}/test/images.csv")  # which image each of them is

    models = _file("models")  # folder of all models

    def model(self, model: ModelId | str) -> Path:
        """Return a model's folder; a str is its path below the folder of all models, or a pattern of such paths."""
        return self.models() / (model if isinstance(model, str) else model.path)

    def model_file(self, model: ModelId | str, name: str) -> Path:
        """Return a file of a model, such as model.pt or metrics.json."""
        return self.model(model) / name

    tuning = _file("tune/{}")  # folder of a search for better settings
    asked = _file("tune/{}/generation{}.json")  # the questions of one of its generations
    trial = _file("tune/{}/trials/{}.json")  # the answer to one question
    tuned = _file("tune/{}/best.json")  # the settings that it found
    tuning_picture = _file("tune/{}/tuning.png")  # its history, what mattered, and all settings that were tried

    probe = _file("probes/{}/{}")  # a file of the classifiers without a network, of one dataset
    backbone = _file("backbones/{}.json")  # what a backbone costs, measured
    weights = _file("weights/{}.pth")  # what models start from: ImageNet's by file name without `.pth`, others by name
    check = _file("checks/{}.json")  # the verdict of a check
    analysis_plan = _file("analysis_plan.json")  # what is asked and how it is decided, with its time
    selection = _file("selection.json")  # the model chosen for each dataset
    delivered = _file("deliver/{}")  # folder of a dataset's chosen model, which runs alone
    delivered_sums = _file("deliver/{}/SHA256SUMS")  # the list of its files, written last
    report = _file("report.html")  # the page

    def summary(self, name: str = "") -> Path:
        """Return the folder of the tables and figures that compare models, or a file in it."""
        return self.root / "summary" / name
