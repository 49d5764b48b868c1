"""What an evaluation hands on: predictions.csv."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrflow.errors import CxrflowError
from cxrflow.files.records import Predictions
from cxrflow.models.checkpoints import SavedModel
from cxrflow.models.subsets import SplitImages


def check_classes(saved: SavedModel, data: SplitImages, path: Path) -> None:
    """Check that a model and a split have the same classes, and that no opened subset is empty.

    Raises:
        CxrflowError: they do not, or one is.
    """
    if saved.class_names != data.class_names:
        raise CxrflowError(
            f"{path} knows the classes {', '.join(saved.class_names)}, and the split has "
            f"{', '.join(data.class_names)}: they belong to different datasets; train again on this split"
        )
    for subset, rows in data.rows.items():
        if len(rows) == 0:
            raise CxrflowError(f"the {subset} subset is empty: give it a larger share in the split settings")


def join_predictions(data: SplitImages, subset: str, probabilities: NDArray[np.float64]) -> Predictions:
    """Return the predictions of an opened subset.

    Args:
        data: the dataset.
        subset: which of its subsets.
        probabilities: float64 (n, n_classes), in index order.
    """
    rows = data.rows[subset]
    return Predictions(
        image_ids=[data.image_ids[i] for i in rows],
        patient_ids=[data.patient_ids[i] for i in rows],
        labels=data.labels_of(subset),
        probabilities=probabilities,
        class_names=data.class_names,
    )
