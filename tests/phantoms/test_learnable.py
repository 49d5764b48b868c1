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
from phantoms.render import draw_picture
from phantoms.tasks import GRAY, KEPT
from phantoms.write import LAYOUTS
from phantoms.xray8 import class_of

PER_CLASS = 20

Drawn = tuple[np.ndarray, list[str]]  # uint8 (N, 64, 64), and their classes


@pytest.fixture(scope="module", params=(1.0, 2.5), ids=lambda contrast: f"contrast{contrast}")
def images(request: pytest.FixtureRequest) -> dict[str, Drawn]:
    """Draw the kept images of each dataset, also as clear as in the demo: uint8 (N, 64, 64), and their classes."""
    settings = PhantomSettings(images_per_class=PER_CLASS, size_scale=0.05, seed=1)
    drawn = {}
    for name, plan in LAYOUTS.items():
        tasks = [task for task in plan(settings).tasks if task.fate == KEPT and task.form == GRAY and not task.copy_of]
        pictures = [draw_picture(task, settings.seed, request.param).pixels for task in tasks]
        labels = [class_of(task.label) if name == "xray8" else task.label for task in tasks]
        small = [cv2.resize(pixels, (64, 64), interpolation=cv2.INTER_AREA) for pixels in pictures]
        drawn[name] = (np.array(small), labels)
    return drawn


def macro_f1(features: np.ndarray, labels: list[str]) -> float:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
    return float(f1_score(labels, cross_val_predict(model, features, labels, cv=5), average="macro"))


@pytest.mark.parametrize(("dataset", "ceiling"), [("covid", 0.45), ("pneumonia", 0.45), ("xray8", 0.25)])
def test_mean_and_contrast_of_the_whole_image_do_badly(images: dict[str, Drawn], dataset: str, ceiling: float) -> None:
    pixels, labels = images[dataset]
    brightness = np.stack([pixels.mean(axis=(1, 2)), pixels.std(axis=(1, 2))], axis=1)
    assert macro_f1(brightness, labels) < ceiling


@pytest.mark.parametrize(
    ("dataset", "classes", "floor"),
    [
        ("covid", ("COVID", "Normal", "Viral Pneumonia"), 0.5),
        ("pneumonia", ("bacterial", "normal", "viral"), 0.5),
        ("xray8", ("Effusion", "No Finding", "Pneumothorax"), 0.5),
    ],
)
def test_where_it_is_bright_tells_much(
    images: dict[str, Drawn], dataset: str, classes: tuple[str, ...], floor: float
) -> None:
    pixels, labels = images[dataset]
    chosen = [(cv2.equalizeHist(each), label) for each, label in zip(pixels, labels, strict=True) if label in classes]
    places = np.array([cv2.resize(each, (12, 12), interpolation=cv2.INTER_AREA).ravel() for each, _ in chosen])
    assert macro_f1(places.astype(float), [label for _, label in chosen]) > floor
