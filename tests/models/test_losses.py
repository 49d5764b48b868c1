"""The loss, the watched score and the learning rate."""

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from cxrflow.models.epochs import cosine_warm_restart, macro_f1


@pytest.mark.parametrize("n_classes", [3, 5])  # with 5, two classes are neither there nor predicted
def test_macro_f1_equals_scikit_learn_over_the_classes_that_occur(n_classes: int) -> None:
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 3, 30), rng.integers(0, 2, 30)  # class 2 is never predicted
    assert macro_f1(labels, predicted, n_classes) == pytest.approx(f1_score(labels, predicted, average="macro"))


def test_every_step_equals_torch() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.02)
    reference = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=3)
    for epoch in range(8):
        for step in range(5):
            progress = epoch + step / 5
            reference.step(progress)
            assert cosine_warm_restart(0.02, progress, 3) == pytest.approx(reference.get_last_lr()[0], abs=1e-15)
