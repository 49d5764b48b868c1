"""The loss, the watched score and the learning rate."""

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from sklearn.utils.class_weight import compute_class_weight

from cxrflow.models.epochs import cosine_warm_restart, macro_f1, weighted_cross_entropy
from cxrflow.models.training import balance_classes


def test_weights_are_scikit_learns_balanced_ones() -> None:
    labels = np.array([0] * 7 + [1] * 2 + [2] * 3)
    wanted = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(balance_classes(labels, 3), wanted)
    assert balance_classes(labels, 3)[labels].mean() == pytest.approx(1.0)


def test_sums_over_batches_give_torchs_weighted_mean_over_all() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((20, 3), generator=generator)
    labels = torch.randint(0, 3, (20,), generator=generator)
    weights = torch.tensor([0.5, 1.0, 4.0])
    parts = [weighted_cross_entropy(logits[part], labels[part], weights) for part in (slice(0, 13), slice(13, 20))]
    mean = sum(loss for loss, _ in parts) / sum(weight for _, weight in parts)
    torch.testing.assert_close(mean, torch.nn.functional.cross_entropy(logits, labels, weight=weights))


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


def test_cycle_starts_at_the_top_and_ends_near_zero() -> None:
    assert cosine_warm_restart(0.1, 0.0, 10) == cosine_warm_restart(0.1, 10.0, 10) == 0.1
    assert cosine_warm_restart(0.1, 5.0, 10) == pytest.approx(0.05)
    assert cosine_warm_restart(0.1, 9.99, 10) < 1e-6
