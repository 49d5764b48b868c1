"""What a classifier can see: global brightness says nothing about the class, where it is bright says much."""

import cv2
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cxrflow.config.settings import PhantomSettings
from phantoms.render import Fate, Form, synthesise_image
from phantoms.write import LAYOUTS
from phantoms.xray8 import class_of

PER_CLASS = 20

Labelled = tuple[np.ndarray, list[str]]  # uint8 (N, 64, 64), and their classes

pytestmark = pytest.mark.slow


def make_images(sign_contrast: float) -> dict[str, Labelled]:
    """Synthesise the kept images of each dataset."""
    settings = PhantomSettings(images_per_class=PER_CLASS, size_scale=0.05, seed=1)
    images = {}
    for name, plan in LAYOUTS.items():
        kept = [task for task in plan(settings).tasks if task.fate == Fate.KEPT and not task.copy_of]
        tasks = [task for task in kept if task.form == Form.GRAY]
        phantoms = [synthesise_image(task, settings.seed, sign_contrast).pixels for task in tasks]
        labels = [class_of(task.label) if name == "xray8" else task.label for task in tasks]
        small = [cv2.resize(pixels, (64, 64), interpolation=cv2.INTER_AREA) for pixels in phantoms]
        images[name] = (np.array(small), labels)
    return images


@pytest.fixture(scope="module")
def clear() -> dict[str, Labelled]:
    """As clear as in the demo: if brightness tells of a class, it does here."""
    return make_images(2.5)


@pytest.fixture(scope="module")
def faint() -> dict[str, Labelled]:
    """As faint as by default: if a sign is hard to see, it is here."""
    return make_images(1.0)


def macro_f1(features: np.ndarray, labels: list[str]) -> float:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
    return float(f1_score(labels, cross_val_predict(model, features, labels, cv=5), average="macro"))


@pytest.mark.parametrize(("dataset", "ceiling"), [("covid", 0.45), ("pneumonia", 0.45), ("xray8", 0.25)])
def test_mean_and_contrast_of_the_whole_image_do_badly(
    clear: dict[str, Labelled], dataset: str, ceiling: float
) -> None:
    pixels, labels = clear[dataset]
    brightness = np.stack([pixels.mean(axis=(1, 2)), pixels.std(axis=(1, 2))], axis=1)
    assert macro_f1(brightness, labels) < ceiling


@pytest.mark.parametrize(
    ("dataset", "classes"),
    [
        ("covid", ("COVID", "Normal", "Viral Pneumonia")),
        ("pneumonia", ("bacterial", "normal", "viral")),
        ("xray8", ("Effusion", "No Finding", "Pneumothorax")),
    ],
)
def test_where_it_is_bright_tells_much(faint: dict[str, Labelled], dataset: str, classes: tuple[str, ...]) -> None:
    pixels, labels = faint[dataset]
    chosen = [(cv2.equalizeHist(each), label) for each, label in zip(pixels, labels, strict=True) if label in classes]
    places = np.array([cv2.resize(each, (12, 12), interpolation=cv2.INTER_AREA).ravel() for each, _ in chosen])
    assert macro_f1(places.astype(float), [label for _, label in chosen]) > 0.5
