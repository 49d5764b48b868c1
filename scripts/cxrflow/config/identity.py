"""Which model is meant: its dataset, backbone, init, variant and seed, and the path they make.

Standard library only, and apart from the study: a stage that names a model does not depend on how studies are planned.
"""

import re
from dataclasses import dataclass

from cxrflow.errors import CxrflowError

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
