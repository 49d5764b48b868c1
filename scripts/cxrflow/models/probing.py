"""A linear probe: the network stays as it starts, and its head is a logistic regression on its features.

What a network of pretrained weights knows already, for one pass over the images (Alain & Bengio 2017, Understanding
intermediate layers using linear classifier probes, https://arxiv.org/abs/1610.01644).
"""

import time
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cxrflow.files.records import EpochRow
from cxrflow.models.batches import SplitImages
from cxrflow.models.epochs import macro_f1, validate
from cxrflow.models.inference import predict
from cxrflow.models.losses import sum_losses
from cxrflow.models.networks import find_head
from cxrflow.models.training import BestEpoch, Training

PENALTY = 0.01  # scikit-learn's C; on standardized features, as of the probes without a network


def fit_head(training: Training, data: SplitImages, backbone: str) -> EpochRow:
    """Fit the head of a training's network in place, which is then its best and only epoch; return its row."""
    start_s, network, rows = time.perf_counter(), training.network, data.rows["train"]
    _, features = predict(
        network, backbone, data.images, rows, device=training.device, batch_size=training.settings.batch_size
    )
    labels = data.labels_of("train")
    weights = training.class_weights.double().cpu()
    head = cast(nn.Linear, network.get_submodule(find_head(network, backbone)))
    weight, bias = regress(features, labels, weights.numpy())
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weight))
        head.bias.copy_(torch.from_numpy(bias))
    fitted_s = time.perf_counter()
    logits = torch.from_numpy(features.astype(np.float64) @ weight.T + bias)
    loss_sum, weight_sum = sum_losses(logits, torch.from_numpy(labels), weights, training.settings)
    val_loss, val_f1 = validate(training, epoch=1)
    row = EpochRow(
        epoch=1,
        learning_rate=0.0,
        train_loss=float(loss_sum / weight_sum),
        train_macro_f1=macro_f1(labels, logits.argmax(dim=1).numpy(), training.n_classes),
        val_loss=val_loss,
        val_macro_f1=val_f1,
        seconds=time.perf_counter() - start_s,
        images_per_s=len(rows) / (fitted_s - start_s),
    )
    state = {name: value.detach().to("cpu", copy=True) for name, value in network.state_dict().items()}
    training.history, training.best = [row], BestEpoch(1, val_loss, state)
    return row


def regress(
    features: NDArray[np.float32], labels: NDArray[np.int64], class_weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit a logistic regression; return weights (n_classes, n_features) and biases (n_classes,) for plain features.

    features: (n, n_features); labels: (n,), every class occurs; class_weights: (n_classes,), of the loss.
    """
    from sklearn.linear_model import LogisticRegression

    mean, std = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    std[std == 0] = 1
    fitted = LogisticRegression(C=PENALTY, class_weight=dict(enumerate(class_weights)), max_iter=1000)
    fitted.fit((features - mean) / std, labels)
    weight, bias = fitted.coef_ / std, fitted.intercept_ - (fitted.coef_ / std) @ mean
    if len(weight) == 1:  # of two classes scikit-learn gives the difference
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight, bias
