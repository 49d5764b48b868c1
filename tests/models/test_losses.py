"""The loss and the watched score."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from sklearn.utils.class_weight import compute_class_weight
from torchvision.ops import sigmoid_focal_loss

from cxrflow.config.settings import TrainSettings
from cxrflow.models.epochs import macro_f1
from cxrflow.models.losses import decide, sum_losses, weigh_classes

COUNTS = {"a": 900, "b": 90, "c": 9}


def settings(**changes: Any) -> TrainSettings:
    return TrainSettings(**changes)


def test_inverse_weights_equal_scikit_learn_and_none_are_all_one() -> None:
    labels = np.repeat(list(COUNTS), list(COUNTS.values()))
    wanted = compute_class_weight("balanced", classes=np.array(list(COUNTS)), y=labels)
    assert list(weigh_classes(COUNTS, settings(class_weights="inverse")).values()) == pytest.approx(wanted)
    assert weigh_classes(COUNTS, settings(class_weights="none")) == dict.fromkeys(COUNTS, 1.0)


def test_effective_numbers_lie_between_none_and_inverse() -> None:
    """Cui 2019 gives (1 - beta) / (1 - beta**n); only the ratios matter, the mean over the images is 1."""
    weights = weigh_classes(COUNTS, settings(class_weights="effective_number", effective_number_beta=0.99))
    cui = {name: (1 - 0.99) / (1 - 0.99**n) for name, n in COUNTS.items()}
    assert [weights[name] / weights["a"] for name in COUNTS] == pytest.approx([cui[n] / cui["a"] for n in COUNTS])
    assert sum(weights[name] * n for name, n in COUNTS.items()) == pytest.approx(sum(COUNTS.values()))
    inverse = weigh_classes(COUNTS, settings())
    assert 1 < weights["c"] / weights["a"] < inverse["c"] / inverse["a"]
    assert weigh_classes(
        COUNTS, settings(class_weights="effective_number", effective_number_beta=0.999999)
    ) == pytest.approx(inverse, rel=1e-3)
    even = weigh_classes(COUNTS, settings(class_weights="effective_number", effective_number_beta=0.0))
    assert even == pytest.approx(dict.fromkeys(COUNTS, 1.0))


def some_logits() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn((20, 3), generator=generator, dtype=torch.float64)
    return logits, torch.arange(20) % 3, torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_smoothed_cross_entropy_equals_torch_and_focal_without_gamma_is_it(loss: str, smoothing: float) -> None:
    logits, labels, weights = some_logits()
    loss_sum, weight_sum = sum_losses(
        logits, labels, weights, settings(loss=loss, focal_gamma=0.0, label_smoothing=smoothing)
    )
    wanted = torch.nn.functional.cross_entropy(logits, labels, weight=weights, label_smoothing=smoothing)
    torch.testing.assert_close(loss_sum / weight_sum, wanted)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_of_two_classes_equals_torchvision(gamma: float) -> None:
    """Softmax over (0, x) is the sigmoid of x."""
    logits, labels, _ = some_logits()
    ones, labels = logits[:, 0], labels % 2
    pairs = torch.stack([torch.zeros_like(ones), ones], dim=1)
    loss_sum, _ = sum_losses(pairs, labels, torch.ones(2).double(), settings(loss="focal", focal_gamma=gamma))
    wanted = sigmoid_focal_loss(ones, labels.double(), alpha=-1, gamma=gamma, reduction="sum")
    torch.testing.assert_close(loss_sum, wanted)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_of_an_image_that_is_certain_has_a_gradient(gamma: float) -> None:
    logits = torch.tensor([[500.0, 0.0], [0.0, 500.0]], requires_grad=True)
    loss_sum, _ = sum_losses(logits, torch.tensor([0, 0]), torch.ones(2), settings(loss="focal", focal_gamma=gamma))
    loss_sum.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_several_findings_have_the_mean_binary_cross_entropy_of_all() -> None:
    logits, labels = (
        torch.randn(5, 3, dtype=torch.float64),
        torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1]] + [[0, 1, 0]] * 2),
    )
    loss_sum, weight_sum = sum_losses(logits, labels, torch.ones(3), settings())
    expected = torch.nn.BCEWithLogitsLoss()(logits, labels.double())
    assert float(loss_sum / weight_sum) == pytest.approx(float(expected), rel=1e-12)
    assert decide(logits, labels).tolist() == (logits.sigmoid() > 0.5).long().tolist()


def test_macro_f1_of_several_findings_equals_scikit_learn() -> None:
    labels, predicted = np.random.default_rng(0).integers(0, 2, (2, 30, 4))
    assert macro_f1(labels, predicted, 4) == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert macro_f1(labels * 0, labels * 0, 4) == 0.0


@pytest.mark.parametrize("n_classes", [3, 5])  # with 5, two classes are neither there nor predicted
def test_macro_f1_equals_scikit_learn_over_the_classes_that_occur(n_classes: int) -> None:
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 3, 30), rng.integers(0, 2, 30)  # class 2 is never predicted
    assert macro_f1(labels, predicted, n_classes) == pytest.approx(f1_score(labels, predicted, average="macro"))
