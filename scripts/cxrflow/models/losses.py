"""The loss and its class weights, and the macro F1 that is watched during training."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional


def balance_classes(labels: NDArray[np.int64], n_classes: int) -> NDArray[np.float64]:
    """Return n / (n_classes * n_c) for each class c, what scikit-learn calls "balanced": float64 (n_classes,).

    King & Zeng 2001, Logistic Regression in Rare Events Data. The mean weight over the images is 1.

    Args:
        labels: int64 (n,), of the train subset; every class occurs.
        n_classes: number of classes.
    """
    return len(labels) / (n_classes * np.bincount(labels, minlength=n_classes).astype(np.float64))


def weighted_cross_entropy(logits: Tensor, labels: Tensor, class_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of weight * cross entropy over the images, and the sum of the weights.

    Their ratio is torch's weighted mean. As sums they add up over batches to the mean over all images.

    Args:
        logits: float (B, n_classes).
        labels: int64 (B,).
        class_weights: float (n_classes,), as the logits.
    """
    loss_sum = functional.cross_entropy(logits, labels, weight=class_weights, reduction="sum")
    return loss_sum, class_weights[labels].sum()


def macro_f1(labels: NDArray[np.int64], predicted: NDArray[np.int64], n_classes: int) -> float:
    """Return the mean F1 of the classes, 0-1; a class neither there nor predicted does not count.

    The same definition as in metrics.json, here without intervals and without the modules that make them: a new metric
    there must not retrain a model.

    Args:
        labels: int64 (n,), true classes.
        predicted: int64 (n,).
        n_classes: number of classes.
    """
    confusion = np.bincount(labels * n_classes + predicted, minlength=n_classes**2).reshape(n_classes, n_classes)
    denominators = confusion.sum(axis=0) + confusion.sum(axis=1)
    seen = denominators > 0
    return float((2 * np.diag(confusion)[seen] / denominators[seen]).mean())
