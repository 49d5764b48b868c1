import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cxrflow.config.settings import TrainSettings
from cxrflow.models.inference import predict
from cxrflow.models.networks import build_network
from cxrflow.models.probing import PENALTY, fit_head, regress
from cxrflow.models.training import start_training
from tests.models.toy import CPU, equal_weights, toy_data


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_head_is_scikit_learns_regression_on_standardized_features(n_classes: int) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(90) % n_classes
    features = (rng.normal(3, 2, (90, 5)) + labels[:, None] * [1, 0, 0.5, 0, 0]).astype(np.float32)
    features[:, 4] = 7  # constant
    weights = np.linspace(0.5, 1.5, n_classes)
    weight, bias = regress(features, labels, weights)
    logits = torch.from_numpy(features @ weight.T + bias)
    penalized = LogisticRegression(C=PENALTY, class_weight=dict(enumerate(weights)), max_iter=1000)
    expected = make_pipeline(StandardScaler(), penalized).fit(features.astype(np.float64), labels)
    np.testing.assert_allclose(logits.softmax(dim=1), expected.predict_proba(features.astype(np.float64)), atol=1e-4)


def test_a_probe_changes_the_head_alone_and_is_the_kept_epoch() -> None:
    data = toy_data()
    network = build_network("tiny", 2, 0.1)
    before = {name: value.clone() for name, value in network.state_dict().items() if not name.startswith("classifier")}
    training = start_training(network, data, TrainSettings(batch_size=4), seed=0, device=CPU)
    row = fit_head(training, data, "tiny")
    after = {name: value for name, value in network.state_dict().items() if not name.startswith("classifier")}
    assert equal_weights(before, after)
    assert training.best.epoch == 1
    assert equal_weights(training.best.state_dict, network.state_dict())
    assert training.history == [row]
    predicted = predict(network, "tiny", data.images, data.rows["train"], device=CPU, batch_size=4)[0].argmax(axis=1)
    assert (predicted == data.labels_of("train")).mean() > 0.8
    assert row.train_macro_f1 > 0.8
