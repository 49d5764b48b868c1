"""Fit the classifiers of `config/probes.py` on the train subset and predict the test subset: no network, no tuning.

The thumbnail, its classifier and its regularization are those with which a logistic regression was found to score above
MobileNetV3 on small sets of real X-rays; the settings were fixed before, and nothing here is chosen by a score.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrflow.files.records import IndexRow, Predictions
from cxrflow.models.batches import SplitImages

THUMBNAIL_PX = 16
FRAME_PX = 64  # a larger image is shrunk to this side before its frame is taken
FRAME_SHARE = 6 / 64  # of the side
REGULARIZATION = 0.01  # scikit-learn's C
FACTS = ("view", "sex", "age_years", "follow_up")  # of `IndexRow.facts`
Floats = NDArray[np.float32]


def fit_probe(name: str, data: SplitImages, test: SplitImages, index: Mapping[str, IndexRow]) -> Predictions:
    """Fit one of PROBES on the train rows of `data` and predict the test rows of `test`.

    index: the dataset's rows by image_id.
    """
    train, tested = data.rows["train"], test.rows["test"]
    fit = (data.images[train], [index[data.image_ids[row]] for row in train])
    predict = (test.images[tested], [index[test.image_ids[row]] for row in tested])
    take, make_classifier = _PROBES[name]
    classifier = make_classifier()
    classifier.fit(take(*fit), data.labels_of("train"))
    found = classifier.predict_proba(take(*predict))
    probabilities = np.zeros((len(tested), len(data.class_names)))
    probabilities[:, classifier.classes_] = found / found.sum(axis=1, keepdims=True)
    image_ids, patient_ids = ([ids[row] for row in tested] for ids in (test.image_ids, test.patient_ids))
    return Predictions(image_ids, patient_ids, test.labels_of("test"), probabilities, data.class_names)


def take_nothing(images: NDArray[np.uint8], rows: Sequence[IndexRow]) -> Floats:
    """Return float32 (n, 1), zeros."""
    return np.zeros((len(rows), 1), np.float32)


def take_thumbnail(images: NDArray[np.uint8], rows: Sequence[IndexRow]) -> Floats:
    """Return the images, uint8 (n, H, W), shrunk to THUMBNAIL_PX: float32 (n, 256), 0-255."""
    return _shrink(images, THUMBNAIL_PX).reshape(len(rows), -1)


def take_frame(images: NDArray[np.uint8], rows: Sequence[IndexRow]) -> Floats:
    """Return the outer frame of the images, uint8 (n, H, W): float32 (n, n_pixels), 0-255."""
    side = min(FRAME_PX, *images.shape[1:])
    width = round(FRAME_SHARE * side)
    outside = np.ones((side, side), np.bool_)
    outside[width:-width, width:-width] = False
    return _shrink(images, side)[:, outside]


def take_metadata(images: NDArray[np.uint8], rows: Sequence[IndexRow]) -> Floats:
    """Return what the index knows of each image beside its pixels: float32 (n, n_facts), -1 where it is unknown.

    Numbers as they are; words, such as F and M, as the number that their first two bytes make: trees need no order.
    """
    return np.array([[_read_fact(row.facts.get(name, "")) for name in FACTS] for row in rows], np.float32)


def _read_fact(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float(int.from_bytes(text.encode()[:2], "big")) if text else -1.0


def _shrink(images: NDArray[np.uint8], side: int) -> Floats:
    small = [cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in images]
    return np.array(small, np.float32)


def _make_constant() -> Any:
    from sklearn.dummy import DummyClassifier

    return DummyClassifier(strategy="prior")


def _make_regression() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regression = LogisticRegression(C=REGULARIZATION, class_weight="balanced", max_iter=1000)
    return make_pipeline(StandardScaler(), regression)


def _make_trees() -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(class_weight="balanced", early_stopping=False, random_state=0)


Take = Callable[[NDArray[np.uint8], Sequence[IndexRow]], Floats]
_PROBES: dict[str, tuple[Take, Callable[[], Any]]] = {
    "majority": (take_nothing, _make_constant),
    "thumbnail": (take_thumbnail, _make_regression),
    "frame": (take_frame, _make_regression),
    "metadata": (take_metadata, _make_trees),
}
