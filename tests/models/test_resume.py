import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from cxrflow.config.layout import ModelId
from cxrflow.config.settings import PreprocessSettings, TrainSettings
from cxrflow.errors import CxrflowError
from cxrflow.files.records import EpochRow
from cxrflow.models import epochs
from cxrflow.models import resume as resume_module
from cxrflow.models.epochs import fit
from cxrflow.models.ranks import Ranks
from cxrflow.models.resume import CheckpointStore, Deadline, training_circumstances, training_key
from cxrflow.models.training import Training
from tests.models.test_checkpoints import flip_bit
from tests.models.toy import equal_weights, toy_training

SETTINGS = TrainSettings(epochs=4, batch_size=8, learning_rate=0.01, restart_epochs=2, transfer_learning_rate_scale=0.1)
KEY = {"model": "m", "settings": "s"}
HERE = {"device": "cpu", "threads": "1", "torch": "2"}


class Interrupted(Exception):
    """Stands for a kill at the end of an epoch."""


def make_training(**changes: Any) -> Training:
    """Return a training with two learning rates and precise BatchNorm statistics."""
    return toy_training(dataclasses.replace(SETTINGS, **changes), new_layers="classifier.1")


def train(resume: Path | None, stop_after: int | None = None, **changes: Any) -> Training:
    """Train in this process, and give up after an epoch."""

    def report(row: EpochRow, _is_best: bool) -> None:
        if len(training.history) > (stop_after or 99):
            raise Interrupted(row.epoch)

    training = make_training(**changes)
    store = CheckpointStore(resume, KEY, HERE, time_share=1) if resume else None
    fit(training, store, report)
    return training


def make_store(resume: Path, **changes: Any) -> CheckpointStore:
    return CheckpointStore(resume, **{"key": KEY, "circumstances": HERE, "time_share": 1, **changes})


def save_epochs(store: CheckpointStore, last: int) -> None:
    for epoch in range(1, last + 1):
        store.save(epoch, lambda epoch=epoch: {"number": torch.tensor([epoch])})


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("stop_after", "changes"),
    [
        (1, {}),
        (2, {}),
        (3, {}),
        (2, {"optimizer": "sgd", "warmup_epochs": 3.0}),
        (2, {"average_decay": 0.9}),
        (1, {"optimizer": "adamw", "weight_decay": 0.1, "average_decay": 0.99, "precise_batch_norm_images": 0}),
        (2, {"loss": "focal", "label_smoothing": 0.1, "class_weights": "effective_number"}),
        (3, {"kept_epoch": "val_macro_f1"}),
        (2, {"kept_epoch": "last", "affine_probability": 0.5}),
    ],
)
def test_resumed_training_equals_one_without_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int, changes: dict[str, Any]
) -> None:
    losses = {1: 0.7, 2: 0.2, 3: 0.5, 4: 0.4}  # the best epoch lies before or after the interruption
    f1 = {1: 0.3, 2: 0.1, 3: 0.8, 4: 0.8}
    monkeypatch.setattr(epochs, "validate", lambda _training, epoch: (losses[epoch], f1[epoch]))
    whole = train(None, **changes)
    with pytest.raises(Interrupted):
        train(tmp_path, stop_after, **changes)
    resumed = train(tmp_path, **changes)
    assert equal_weights(resumed.network.state_dict(), whole.network.state_dict())
    assert equal_weights(resumed.best.state_dict, whole.best.state_dict)
    kept = {"val_loss": 2, "val_macro_f1": 3, "last": 4}[whole.settings.kept_epoch]
    assert (resumed.best.epoch, resumed.best.val_loss) == (kept, losses[kept])
    for one, other in zip(resumed.history, whole.history, strict=True):
        assert dataclasses.replace(one, seconds=0, images_per_s=0) == dataclasses.replace(
            other, seconds=0, images_per_s=0
        )


def test_training_out_of_time_saves_leaves_and_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole, training = train(None), make_training()
    store = CheckpointStore(tmp_path, KEY, HERE, time_share=0)  # saves nothing unless it must
    end = Deadline(at_s=1000.0, clock=lambda: 0.0 if len(training.history) < 2 else 999.0)
    with pytest.raises(CxrflowError, match=r"saved after epoch 2 of 4\. The next attempt resumes"):
        fit(training, store, lambda _row, _is_best: None, end)
    assert "epoch_0002.pt" in files(store.folder)
    late = Deadline(at_s=1000.0, clock=lambda: 999.0)
    with pytest.raises(CxrflowError, match="saved after epoch 3 of 4"):  # an attempt always gets on by an epoch
        fit(make_training(), store, lambda _row, _is_best: None, late)
    resumed = train(tmp_path)
    assert len(resumed.history) == 4
    assert equal_weights(resumed.network.state_dict(), whole.network.state_dict())


def test_of_several_ranks_none_leaves_before_the_first_has_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others wait in `share` for what the first says after it has saved; the first that ends has all ended."""
    events: list[str] = []

    def share(_ranks: Ranks, value: Any) -> Any:
        events.append("share")
        return value

    store, training = make_store(tmp_path), make_training()
    monkeypatch.setattr(store, "save", lambda *_args, **_flags: events.append("save"))
    monkeypatch.setattr(Ranks, "share", share)
    with pytest.raises(CxrflowError, match="saved after epoch 1 of 4"):
        fit(training, store, lambda _row, _is_best: None, Deadline(at_s=1000.0, clock=lambda: 999.0))
    assert events[-2:] == ["save", "share"]


def test_nothing_is_saved_where_the_guard_says_no(tmp_path: Path) -> None:
    def refuse() -> None:
        raise CxrflowError("taken over")

    store = make_store(tmp_path, guard=refuse)
    with pytest.raises(CxrflowError, match="taken over"):
        save_epochs(store, 1)
    assert not store.folder.exists()


@pytest.mark.parametrize("rule", ["val_loss", "val_macro_f1", "last"])
def test_resumed_training_reports_earlier_epochs_and_their_marks_again(tmp_path: Path, rule: str) -> None:
    reports = []
    for _ in range(2):  # the second finds all epochs done
        seen: list[tuple[EpochRow, bool]] = []
        fit(make_training(kept_epoch=rule), make_store(tmp_path), lambda *row, seen=seen: seen.append(row))
        reports.append(seen)
    assert reports[0] == reports[1]
    assert len(reports[0]) == 4


def test_newest_state_comes_back_and_two_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = make_store(tmp_path)
    assert store.load() is None
    save_epochs(store, 4)
    assert files(store.folder) == [f"epoch_{n:04d}.pt{end}" for n in (3, 4) for end in ("", ".sha256")]
    state = make_store(tmp_path).load()
    assert state is not None
    assert state["number"].item() == 4
    assert "resuming after epoch 4" in capsys.readouterr().out


def test_a_damaged_checkpoint_sends_back_to_the_one_before_and_two_to_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = make_store(tmp_path)
    save_epochs(store, 3)
    flip_bit(store.folder / "epoch_0003.pt", 500)
    state = store.load()
    assert state is not None
    assert state["number"].item() == 2
    said = capsys.readouterr().out
    assert "epoch_0003.pt is damaged" in said
    assert "resuming after epoch 2" in said
    (store.folder / "epoch_0002.pt.sha256").unlink()
    assert store.load() is None
    save_epochs(store, 1)  # and what it then writes is not mixed up with what was there
    assert [path.name for path in store.folder.glob("*.pt")] == ["epoch_0001.pt"]
    assert {"epoch_0002.pt.damaged", "epoch_0003.pt.damaged"} < set(files(store.folder)), "a person may look at them"
    store.clear()
    assert not store.folder.exists()


@pytest.mark.parametrize("text", [b"", b"\xff\xfe garbage", b"0 epoch_0003.pt"])
def test_a_checksum_that_says_nothing_costs_one_checkpoint(tmp_path: Path, text: bytes) -> None:
    store = make_store(tmp_path)
    save_epochs(store, 3)
    (store.folder / "epoch_0003.pt.sha256").write_bytes(text)
    state = store.load()
    assert state is not None
    assert (store.folder / "epoch_0003.pt.damaged").exists()


def test_checkpoint_of_other_settings_is_not_taken(tmp_path: Path) -> None:
    save_epochs(make_store(tmp_path), 1)
    assert make_store(tmp_path, key={**KEY, "settings": "other"}).load() is None


def test_another_number_of_threads_is_told_and_allowed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_epochs(make_store(tmp_path), 1)
    assert make_store(tmp_path, circumstances={**HERE, "threads": "8"}).load() is not None
    assert "the training moved (threads 1 -> 8)" in capsys.readouterr().out


def test_clearing_removes_checkpoints_of_all_settings_and_nothing_else(tmp_path: Path) -> None:
    resume = tmp_path / "resume"
    stores = [make_store(resume), make_store(resume, key={"model": "other"})]
    for store in stores:
        save_epochs(store, 3)
        (store.folder / ".epoch_0004.pt.123.tmp").touch()  # of a killed writer
    stores[0].clear()
    assert not resume.exists()

    save_epochs(stores[0], 1)
    (resume / "notes.txt").touch()
    (stores[0].folder / "notes.txt").touch()
    stores[0].clear()
    assert files(resume) == sorted(["notes.txt", stores[0].folder.name])
    assert files(stores[0].folder) == ["notes.txt"]


def test_writing_takes_at_most_its_share_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch of 1 s and a checkpoint of 2 s: at most a tenth of the time means every 18 epochs or more."""
    now = [0.0]
    monkeypatch.setattr(resume_module.time, "monotonic", lambda: now[0])
    store = make_store(tmp_path, time_share=0.1)

    def state() -> dict[str, Any]:
        now[0] += 2
        saved.append(epoch)
        return {"n": epoch}

    saved: list[int] = []
    for epoch in range(1, 61):
        now[0] += 1
        store.save(epoch, state)
    assert saved == [1, 19, 37, 55]


@pytest.fixture
def key_inputs(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "split.csv").write_text("a split")
    (tmp_path / "images.csv").write_text("the images' checksums")
    (tmp_path / "init.pt").write_bytes(b"weights")
    return {
        "model": ModelId("covid", "tiny"),
        "settings": SETTINGS,
        "preprocess": PreprocessSettings(),
        "split": tmp_path / "split.csv",
        "images": tmp_path / "images.npy",
        "init_weights": tmp_path / "init.pt",
    }


def key_of(inputs: dict[str, Any]) -> dict[str, str]:
    model, settings, preprocess = (inputs[name] for name in ("model", "settings", "preprocess"))
    rest = {name: inputs[name] for name in ("split", "images", "init_weights")}
    return training_key(model, settings, preprocess, **rest)


def other_file(path: Path) -> Path:
    other = path.with_name("other.csv")  # images.csv stands for the images
    other.write_text("other content")
    return other


CHANGES = {
    "model": lambda model: dataclasses.replace(model, seed=1),
    "settings": lambda settings: dataclasses.replace(settings, weight_decay=0.1),
    "preprocess": lambda preprocess: dataclasses.replace(preprocess, blur_px=0),
    "split": other_file,
    "images": other_file,
    "init_weights": lambda _path: None,
}


@pytest.mark.parametrize("name", CHANGES)
def test_key_tells_what_differs(key_inputs: dict[str, Any], name: str) -> None:
    changed = key_of({**key_inputs, name: CHANGES[name](key_inputs[name])})
    same = key_of(key_inputs)
    assert [part for part in same if same[part] != changed[part]] == [name]


def test_key_holds_the_code_and_the_network(key_inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    before = key_of(key_inputs)
    monkeypatch.setattr(resume_module, "code_hash", lambda stage: f"another {stage}")
    assert {part for part, value in key_of(key_inputs).items() if before[part] != value} == {"code"}
    assert before["network"] == "tiny of torchvision with head found"


def test_circumstances_are_plain() -> None:
    circumstances = training_circumstances("a GPU", 4)
    assert circumstances == {"device": "a GPU", "threads": "4", "gpus": "1", "torch": torch.__version__}
    assert {type(value) for value in circumstances.values()} == {str}  # torch.load refuses TorchVersion
