"""What a candidate says: the mean of the probabilities of its members, of the mirror images, too, where it has flip.

The mean of probabilities, not of logits: no member's confidence then counts more than another's (deep ensembles:
Lakshminarayanan et al. 2017, NeurIPS).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cxrflow.config.layout import CandidateId, Layout, ModelId
from cxrflow.files.records import Predictions, read_predictions
from cxrflow.results.bootstrap import check_same_images

FILES = {"val": ("val_predictions.csv", "val_mirrored.csv"), "test": ("predictions.csv", "mirrored.csv")}


def average_predictions(several: Sequence[Predictions]) -> Predictions:
    """Return the mean probabilities of predictions of the same images.

    Raises:
        CxrflowError: they are of different images.
    """
    check_same_images(several)
    return replace(several[0], probabilities=np.mean([each.probabilities for each in several], axis=0))


def read_candidate(
    layout: Layout, candidate: CandidateId, trainings: Sequence[ModelId], subset: str
) -> list[Predictions]:
    """Return what a candidate says of the images of a subset, `val` or `test`, once per training of it.

    trainings: the seeds of a single model, each of which answers alone; an ensemble is one, whatever is given.
    """
    files = FILES[subset][: 1 + candidate.flip]
    groups = [candidate.members] if len(candidate.members) > 1 else [(model,) for model in trainings]
    return [
        average_predictions([read_predictions(layout.model_file(model, file)) for model in group for file in files])
        for group in groups
    ]
