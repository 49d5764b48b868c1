import numpy as np
import pytest
import torch

from cxrflow.models.batches import open_source
from cxrflow.models.inference import predict, predict_logits
from cxrflow.models.networks import build_network, to_network_input
from tests.models.toy import CPU, N_FEATURES, toy_images, toy_labels

IMAGES = toy_images(toy_labels(11))


def test_probabilities_and_features_follow_the_rows() -> None:
    network = build_network("tiny", 3, 0.1)  # in training mode: predict must switch dropout and BatchNorm off
    rows = np.array([7, 2, 9])
    probabilities, features = predict(network, "tiny", IMAGES, rows, device=CPU, batch_size=2)
    assert (probabilities.dtype, probabilities.shape) == (np.float64, (3, 3))
    assert (features.dtype, features.shape) == (np.float32, (3, N_FEATURES))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-12)
    for i, row in enumerate(rows):
        with torch.no_grad():
            logits = network.eval()(to_network_input(torch.from_numpy(IMAGES[row : row + 1])))
        np.testing.assert_allclose(probabilities[i], logits.double().softmax(1)[0], atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_batch_size_is_no_matter_of_results(batch_size: int) -> None:
    network = build_network("tiny", 3, 0.1)
    logits = predict_logits(network.train(), open_source(IMAGES, np.arange(11), CPU), 11, batch_size=batch_size)
    wanted = predict(network.train(), "tiny", IMAGES, np.arange(11), device=CPU, batch_size=11)
    np.testing.assert_allclose(logits.softmax(1), wanted[0], atol=1e-6)  # validation sees the same
    found = predict(network, "tiny", IMAGES, np.arange(11), device=CPU, batch_size=batch_size)
    for one, other in zip(wanted, found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
