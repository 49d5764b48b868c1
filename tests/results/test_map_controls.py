"""Controls of the scored maps: a mark that decides the class is found; but a model of shuffled labels finds it, too."""

import numpy as np
import pytest

from cxrflow.compare.explanations import estimate_localization
from cxrflow.config.settings import TrainSettings
from cxrflow.data.preprocessing import resize_gray
from cxrflow.files.records import LocalizationRow, SplitRow
from cxrflow.models.batches import join_split
from cxrflow.models.epochs import fit
from cxrflow.results.bootstrap import Estimate
from cxrflow.results.explaining import read_map, read_random, score_map
from cxrflow.results.gradcam import find_map_layer, iterate_maps
from phantoms.render import Fate, ImageTask, synthesise_image
from tests.models.toy import CPU, toy_training

SIZE_PX, MARK_PX = 48, 12  # as in the demo; a mark as large as many a lesion there
N_TRAIN, N_VAL, N_TEST = 120, 24, 80
N_BODIES = 40


def draw_marked(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return phantoms uint8 (N, 48, 48), their classes int64 (N,), and class 1's marks, float32 (N, 48, 48)."""
    generator = np.random.default_rng(seed)
    bodies = [resize_gray(synthesise_image(draw_task(number), seed).pixels, SIZE_PX) for number in range(N_BODIES)]
    n = N_TRAIN + N_VAL + N_TEST
    images, labels = np.stack([bodies[k % N_BODIES] for k in range(n)]), np.arange(n) // 2 % 2
    marks = np.zeros(images.shape, np.float32)
    for place in np.flatnonzero(labels):
        top, left = generator.integers(0, SIZE_PX - MARK_PX + 1, 2)
        box = (place, slice(top, top + MARK_PX), slice(left, left + MARK_PX))
        marks[box], images[box] = 1, 255
        images[place, top + 4 : top + 8, left + 4 : left + 8] = 0
    return images, labels, marks


def draw_task(number: int) -> ImageTask:
    return ImageTask("covid", "", "Normal", Fate.KEPT, (), patient=number, number=number, width_px=128, height_px=128)


def score_marked(images: np.ndarray, labels: np.ndarray, marks: np.ndarray, epochs: int) -> dict[str, Estimate]:
    """Train MobileNet as the demo does, on `labels`, and score class 1's maps of the marked test images."""
    subsets = ["train"] * N_TRAIN + ["val"] * N_VAL
    rows = [SplitRow(str(k), "ab"[labels[k]], str(k), str(k), subset) for k, subset in enumerate(subsets)]
    settings = TrainSettings(
        epochs=epochs, restart_epochs=epochs, batch_size=16, learning_rate=0.002, batch_norm_momentum=0.3
    )
    training = toy_training(settings, join_split(images[: len(rows)], rows), backbone="mobilenet_v3_large")
    fit(training, None, lambda _row, _is_best: None)
    training.network.load_state_dict(training.best.state_dict)
    layer = find_map_layer(training.network, "mobilenet_v3_large", SIZE_PX)
    assert layer.is_scored
    tested = [k for k in range(len(rows), len(images)) if marks[k].any()]
    random = read_random(layer.grid, SIZE_PX, seed=0)
    maps = iterate_maps(training.network, layer, images, tested, [1] * len(tested), CPU)
    scored = [
        LocalizationRow(
            str(k), str(k), "b", "b", "lesion", **score_map(read_map(heat), random, None, marks[k]), empty_map=0
        )
        for k, heat in zip(tested, maps, strict=True)
    ]
    return estimate_localization(scored, 1000, 0)


@pytest.mark.slow
def test_a_mark_that_decides_the_class_is_found_in_more_than_0_8() -> None:
    found = score_marked(*draw_marked(), epochs=8)
    assert found["hit"].value > 0.8
    assert found["hit_gain"].low > 0.5
    assert found["inside_share_gain"].low > 0


@pytest.mark.slow
@pytest.mark.xfail(
    strict=True,
    reason="early activations follow what is conspicuous: of shuffled labels, MobileNet points at the mark in 0.63 to"
    " 0.88 (5 label orders), and so it does untrained, and by Grad-CAM and HiResCAM; the page says so",
)
def test_a_model_of_shuffled_labels_equals_random_maps() -> None:
    images, labels, marks = draw_marked()
    found = score_marked(images, np.random.default_rng(1).permutation(labels), marks, epochs=2)
    assert found["hit_gain"].low <= 0 <= found["hit_gain"].high
