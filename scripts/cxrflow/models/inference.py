"""Images through a trained network: probabilities, and the features before its head.

The test subset, the validation of each epoch and new X-rays all go this way: float32, eval mode, no augmentation.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cxrflow.errors import CxrflowError
from cxrflow.models.batches import ImageSource, SplitImages, batches_in_order, open_source
from cxrflow.models.checkpoints import SavedModel
from cxrflow.models.networks import forward_with_features, to_network_input
from cxrflow.models.ranks import ALONE, Ranks


def predict(
    network: nn.Module,
    backbone: str,
    images: NDArray[np.uint8],
    rows: NDArray[np.int64],
    *,
    device: torch.device,
    batch_size: int,
    mirrored: bool = False,
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return the probabilities and the features of some images.

    network: it is moved to `device` and put into eval mode; images: uint8 (N, H, W), 0-255, preprocessed as the
    network's training images were; rows: int64 (n,), which of them; batch_size: only speed and memory depend on it;
    mirrored: of their mirror images, left and right exchanged.
    Returns float64 (n, n_classes), softmax, rows sum to 1; float32 (n, n_features), what enters the head.
    """
    network = network.to(device).eval()
    source = open_source(images, rows, device)
    logits, features = [], []
    with torch.inference_mode():
        for batch in batches_in_order(source, slice(0, len(rows)), batch_size):
            inputs = to_network_input(batch.flip(-1) if mirrored else batch)
            some_logits, some_features = forward_with_features(network, backbone, inputs)
            logits.append(some_logits.cpu())
            features.append(some_features.float().cpu())
    probabilities = torch.cat(logits).double().softmax(dim=1)
    return probabilities.numpy(), torch.cat(features).numpy()


def predict_logits(
    network: nn.Module, source: ImageSource, n_images: int, batch_size: int, ranks: Ranks = ALONE
) -> Tensor:
    """Return the logits of all images of a source: float64 (n_images, n_classes), on the CPU.

    The network, on the source's device, is put into eval mode. Every rank computes its part of the images and gets all.
    """
    network.eval()
    ranks.align(network)
    with torch.inference_mode():
        batches = batches_in_order(source, ranks.own_part(slice(0, n_images)), batch_size)
        return ranks.join(torch.cat([network(to_network_input(batch)) for batch in batches])).double()


def check_classes(saved: SavedModel, data: SplitImages, path: Path) -> None:
    """Check that a model and a split have the same classes, and that no opened subset is empty.

    Raises:
        CxrflowError: they do not, or one is.
    """
    if saved.class_names != data.class_names:
        raise CxrflowError(
            f"{path} knows the classes {', '.join(saved.class_names)}, and the split has "
            f"{', '.join(data.class_names)}: they belong to different datasets; train again on this split"
        )
    for subset, rows in data.rows.items():
        if len(rows) == 0:
            raise CxrflowError(f"the {subset} subset is empty: give it a larger share in the split settings")
