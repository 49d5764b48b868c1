"""What a training minimises: cross entropy or focal loss, weighted by class, with smoothed labels. Pure functions.

Where an image may have several findings, it is the binary cross entropy of each.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from cxrflow.config.settings import TrainSettings


def weigh_classes(counts: Mapping[str, int], settings: TrainSettings) -> dict[str, float]:
    """Return each class's weight in the loss; the mean weight over the images is 1.

    `inverse` is 1 / n_c of a class with n_c images, scikit-learn's "balanced" (King & Zeng 2001, Logistic Regression in
    Rare Events Data); `effective_number` is (1 - beta) / (1 - beta**n_c) (Cui et al. 2019, Class-Balanced Loss, CVPR,
    equation 3), which is `inverse` as beta goes to 1.

    counts: {class: images} of the train subset; every class occurs.
    """
    if settings.class_weights == "none":
        return dict.fromkeys(counts, 1.0)
    numbers = {name: float(n) for name, n in counts.items()}
    if settings.class_weights == "effective_number":
        beta = settings.effective_number_beta
        numbers = {name: (1 - beta**n) / (1 - beta) for name, n in counts.items()}
    whole = sum(counts[name] / number for name, number in numbers.items())
    return {name: sum(counts.values()) / (whole * number) for name, number in numbers.items()}


def sum_losses(logits: Tensor, labels: Tensor, class_weights: Tensor, settings: TrainSettings) -> tuple[Tensor, Tensor]:
    """Return the sum of the weighted losses of the images, and the sum of their weights.

    Their ratio is torch's weighted mean. As sums they add up over batches to the mean over all images. Focal loss is
    cross entropy times (1 - p)**gamma, p the probability of the class (Lin et al. 2017, Focal Loss for Dense Object
    Detection, ICCV, equation 5); with smoothed labels each class's share of a label has its own p.

    logits: float (B, n_classes); labels: int64 (B,); class_weights: (n_classes,), of the same type as the logits.

    labels int64 (B, n_classes), of images that may have several findings: the mean binary cross entropy of their
    sigmoids, every image and finding with the same weight; `findings.list_unfit` refuses settings that ask for more.
    """
    if labels.ndim == 2:
        losses = functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="sum")
        return losses / logits.shape[1], logits.new_full((), len(labels))
    weight_sum, smoothing = class_weights[labels].sum(), settings.label_smoothing
    if settings.loss == "cross_entropy":
        loss_sum = functional.cross_entropy(
            logits, labels, weight=class_weights, reduction="sum", label_smoothing=smoothing
        )
        return loss_sum, weight_sum
    logs = logits.log_softmax(dim=1)
    unsure = (-logs.expm1()).clamp_min(torch.finfo(logs.dtype).eps)  # 1 - p; at 0 a gamma under 1 has no gradient
    scores = logs * unsure**settings.focal_gamma
    hard = functional.nll_loss(scores, labels, weight=class_weights, reduction="sum")
    even = -(scores @ class_weights).sum() / logits.shape[1]
    return (1 - smoothing) * hard + smoothing * even, weight_sum


def decide(logits: Tensor, labels: Tensor) -> Tensor:
    """Return what the logits say, in the form of the labels: int64 (B,), the class, or (B, n_classes), 1 from p = 0.5.

    logits: float (B, n_classes).
    """
    return logits.argmax(dim=1) if labels.ndim == 1 else (logits > 0).long()
