"""A recorded step trains as one that is not; here without a GPU, whose graph is stood in for by calling again."""

import pytest
import torch
from torch import Tensor

from cxrflow.config.settings import TrainSettings
from cxrflow.models.recording import Replay, StepRecording, note_on_recording
from cxrflow.models.training import Training, fit
from tests.models.toy import equal_weights, toy_training

SETTINGS = TrainSettings(epochs=3, batch_size=8, restart_epochs=2)  # 30 images: three full batches and one of six


class Recorder:
    """Stands in for a CUDA graph: a recorded step is the function itself."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def __call__(self, step: Replay) -> Replay:
        self.recorded += 1

        def replay() -> tuple[Tensor, Tensor]:
            self.replayed += 1
            return step()

        return replay


def train(training: Training) -> Training:
    fit(training, None, lambda _row, _is_best: None)
    return training


def recorded_training() -> tuple[Training, Recorder]:
    training, recorder = toy_training(SETTINGS), Recorder()
    training.recording = StepRecording(training.network, training.optimizer, recorder)
    return training, recorder


def keep_rates_as_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the plain training round its learning rates as the recorded one has to."""
    from cxrflow.models import training

    exact = training.cosine_warm_restart
    monkeypatch.setattr(training, "cosine_warm_restart", lambda *args: float(torch.tensor(exact(*args))))


def test_recorded_training_equals_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_rates_as_float32(monkeypatch)
    plain = train(toy_training(SETTINGS))
    training, recorder = recorded_training()
    train(training)
    assert recorder.recorded == 1
    assert recorder.replayed == 3 * 3, "the last batch of an epoch is smaller, and not replayed"
    assert equal_weights(training.network.state_dict(), plain.network.state_dict())
    assert [row.val_loss for row in training.history] == [row.val_loss for row in plain.history]


def test_recording_in_a_resumed_training_goes_on_from_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_rates_as_float32(monkeypatch)
    plain = train(toy_training(SETTINGS))
    first = toy_training(SETTINGS)
    first.settings = TrainSettings(epochs=1, batch_size=8, restart_epochs=2)
    train(first)
    training, _ = recorded_training()
    training.restore(first.state())
    train(training)
    assert equal_weights(training.network.state_dict(), plain.network.state_dict())


def test_state_of_a_recorded_training_holds_plain_learning_rates() -> None:
    training, _ = recorded_training()
    train(training)
    assert all(isinstance(group["lr"], float) for group in training.state()["optimizer"]["param_groups"])


@pytest.mark.parametrize(
    ("is_wanted", "device", "n_ranks", "words"),
    [
        (True, "cuda", 1, ""),
        (False, "cpu", 1, ""),
        (True, "cpu", 1, "computes on cpu in 1 process"),
        (True, "cuda", 2, "computes on cuda in 2 process"),
    ],
)
def test_a_recording_that_cannot_be_made_is_told(is_wanted: bool, device: str, n_ranks: int, words: str) -> None:
    note = note_on_recording(is_wanted, torch.device(device), n_ranks)
    assert words in note
    assert bool(note) == bool(words)
