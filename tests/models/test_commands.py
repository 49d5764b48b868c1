"""The four commands, from files to files."""

import dataclasses
import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import convert_weights
import profile_backbone
import train
from cxrflow.config.parsing import settings_json
from cxrflow.config.settings import PreprocessSettings, ProfileSettings, TrainSettings, WeightsSettings
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import read_json, sha256_file
from cxrflow.files.records import EpochRow
from cxrflow.files.tables import read_records
from cxrflow.models import checkpoints
from cxrflow.models.checkpoints import checksum_path, load_model
from cxrflow.models.cost import count_params
from tests.models.toy import build_tiny, equal_weights, toy_images, toy_labels, toy_rows, training_files, write_packed

SETTINGS = TrainSettings(epochs=3, batch_size=8, learning_rate=0.01, restart_epochs=3)
LABELS = toy_labels(51)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    """Write a packed toy dataset; return the arguments of train_model."""
    write_packed(tmp_path, toy_images(LABELS, 16), toy_rows(LABELS, n_train=30, n_val=12))
    return training_files(tmp_path, tmp_path) | {
        "model_id": "toy/tiny/scratch/base/seed0",
        "preprocess": PreprocessSettings(size_px=16),
        "settings": SETTINGS,
        "threads": 1,
    }


def test_training_writes_what_it_promises(files: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    train.train_model(**files)
    history = read_records(files["history"], EpochRow)
    saved, summary = load_model(files["model"]), read_json(files["training"])
    assert [row.epoch for row in history] == [1, 2, 3]
    assert saved.epoch == summary["epoch_kept"] == 1 + int(np.argmin([row.val_loss for row in history]))
    assert saved.val_loss == summary["val_loss"] == min(row.val_loss for row in history)
    assert f"{saved.dataset}/{saved.backbone}/{saved.init}/{saved.variant}/seed{saved.seed}" == files["model_id"]
    assert saved.class_names == summary["class_names"] == ["dark", "light"]
    assert saved.preprocess == files["preprocess"]
    assert (summary["n_train"], summary["n_val"], summary["epochs"]) == (30, 12, 3)
    assert summary["class_weights"] == {"dark": 30 / (2 * 20), "light": 30 / (2 * 10)}
    assert summary["settings"] == json.loads(settings_json(SETTINGS))
    assert summary["total_seconds"] == sum(row.seconds for row in history)
    assert summary["versions"]["torch"] == torch.__version__
    assert not files["resume"].exists()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("toy/tiny/scratch/base/seed0: Tiny on ")
    assert lines[-1].startswith(f"kept epoch {saved.epoch} of 3: validation loss {saved.val_loss:.4f}")
    assert [line.endswith("*") for line in lines[-4:-1]] == [
        row.val_loss < min([r.val_loss for r in history[:i]], default=np.inf) for i, row in enumerate(history)
    ]


@pytest.mark.parametrize("rule", ["val_macro_f1", "last"])
def test_the_kept_epoch_is_the_one_of_the_rule(files: dict[str, Any], rule: str) -> None:
    train.train_model(**files | {"settings": dataclasses.replace(SETTINGS, kept_epoch=rule)})
    history = read_records(files["history"], EpochRow)
    wanted = 3 if rule == "last" else 1 + int(np.argmax([row.val_macro_f1 for row in history]))
    saved = load_model(files["model"])
    assert (saved.epoch, saved.val_loss) == (wanted, history[wanted - 1].val_loss)


def test_a_share_of_the_train_images_is_trained_on_and_weighs_the_classes(files: dict[str, Any]) -> None:
    train.train_model(**files | {"settings": dataclasses.replace(SETTINGS, epochs=1, train_share=0.3)})
    summary = read_json(files["training"])
    assert (summary["n_train"], summary["n_val"]) == (6 + 3, 12)
    assert summary["class_weights"] == {"dark": 9 / (2 * 6), "light": 9 / (2 * 3)}


def test_named_weights_are_converted_and_probed(files: dict[str, Any], tmp_path: Path) -> None:
    source, weights = tmp_path / "root" / "mae.safetensors", tmp_path / "mae.pth"
    source.parent.mkdir()
    body = {name: value for name, value in build_tiny().state_dict().items() if not name.startswith("classifier")}
    save_file({f"encoder.{name}": value for name, value in body.items()}, source)
    entry = WeightsSettings(
        file=source.name, sha256=sha256_file(source), backbone="tiny", keys={"^encoder\\.": ""}, head="probe"
    )
    convert_weights.convert(name="mae", settings=entry, folder=source.parent, weights=weights)
    mine = files | {"model_id": "toy/tiny/weights_mae/base/seed0", "init_weights": weights}
    train.train_model(**mine)
    saved, kept = load_model(mine["model"]), read_json(mine["training"])
    assert (saved.init, saved.epoch, kept["epochs"]) == ("weights_mae", 1, 1)
    assert equal_weights(body, {name: value for name, value in saved.state_dict.items() if name in body})


def test_a_finished_training_is_not_made_twice(files: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    train.train_model(**files)
    written = files["model"].stat().st_mtime_ns
    train.train_model(**files)
    assert "already exists for exactly this configuration" in capsys.readouterr().out
    assert files["model"].stat().st_mtime_ns == written
    train.train_model(**files | {"settings": dataclasses.replace(SETTINGS, epochs=1)})
    assert files["model"].stat().st_mtime_ns != written, "of other settings: it is made anew"
    files["model"].write_bytes(b"damaged")
    train.train_model(**files | {"settings": dataclasses.replace(SETTINGS, epochs=1)})
    assert "It is now model.pt.damaged; training again" in capsys.readouterr().out
    assert load_model(files["model"]).epoch == 1


def test_settings_that_are_changed_and_changed_back_train_nothing(
    files: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Snakemake deletes what a job has made before it makes it again, and a person may then stop it."""
    outputs = [files[name] for name in ("history", "training", "model")] + [checksum_path(files["model"])]
    train.train_model(**files)
    before = [path.read_bytes() for path in outputs]
    for path in outputs:
        path.unlink()
    with pytest.raises(KeyboardInterrupt):
        stop_in_epoch(files, 2)
    assert not files["model"].exists()
    train.train_model(**files)
    assert "taken back from" in capsys.readouterr().out
    assert [path.read_bytes() for path in outputs] == before
    files["model"].unlink()
    kept = next((files["model"].parent / "kept").iterdir())
    (kept / "history.csv").write_text("edited")
    train.train_model(**files)
    assert "Training again" in capsys.readouterr().out


def stop_in_epoch(files: dict[str, Any], epoch: int) -> None:
    """Begin the training with other settings and leave it by Ctrl-C."""
    with pytest.MonkeyPatch.context() as patch:

        def stop(row: Any, _is_best: bool) -> str:
            if row.epoch == epoch:
                raise KeyboardInterrupt
            return ""

        patch.setattr(train, "epoch_line", stop)
        train.train_model(**files | {"settings": dataclasses.replace(SETTINGS, epochs=5)})


def test_the_last_trainings_are_kept(files: dict[str, Any]) -> None:
    for count in (1, 2, 3, 4):
        train.train_model(**files | {"settings": dataclasses.replace(SETTINGS, epochs=count)})
    assert len(list((files["model"].parent / "kept").iterdir())) == 3


def test_an_old_model_never_passes_for_a_new_one(files: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    train.train_model(**files)
    other = files | {"settings": dataclasses.replace(SETTINGS, epochs=1)}
    with monkeypatch.context() as patch:
        patch.setattr(train, "save_model", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train.train_model(**other)
    train.train_model(**other)
    assert load_model(files["model"]).epoch == 1


def test_interrupted_training_goes_on_and_gives_the_same_files(
    files: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A disk that fills up while the outputs are written costs nothing: the checkpoints are still there."""
    train.train_model(**files)
    whole, history = load_model(files["model"]), files["history"].read_text()
    broken = {**files, **{name: tmp_path / "again" / files[name].name for name in ("history", "training", "model")}}
    with monkeypatch.context() as patch:
        patch.setattr(train, "write_records", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space left"):
            train.train_model(**broken)
    assert not broken["model"].exists()
    capsys.readouterr()
    train.train_model(**broken)
    assert "resuming after epoch" in capsys.readouterr().out
    assert equal_weights(load_model(broken["model"]).state_dict, whole.state_dict)
    cut = [line.split(",")[:6] for line in history.splitlines()]  # without seconds and images_per_s
    assert [line.split(",")[:6] for line in broken["history"].read_text().splitlines()] == cut


def test_model_is_written_last_and_after_its_checksum(files: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for module, name in ((train, "write_json"), (train, "write_records"), (checkpoints, "write_text")):
        original = getattr(module, name)

        def watch(path: Path, *rest: Any, original: Any = original) -> None:
            original(path, *rest)
            assert not files["model"].exists()
            seen.append(path.name)

        monkeypatch.setattr(module, name, watch)
    train.train_model(**files)
    assert seen[-3:] == ["training.json", "history.csv", "model.pt.sha256"]
    assert files["model"].exists()


def test_transfer_from_another_dataset(files: dict[str, Any], tmp_path: Path) -> None:
    train.train_model(**files)
    target = {**files, "model": tmp_path / "second" / "model.pt", "model_id": "other/tiny/from_toy/base/seed0"}
    frozen = dataclasses.replace(SETTINGS, epochs=1, transfer_learning_rate_scale=0.0)
    train.train_model(**{**target, "init_weights": files["model"], "settings": frozen})
    source, model = load_model(files["model"]), load_model(target["model"])
    assert model.init == "from_toy"
    equal = {name for name, value in model.state_dict.items() if torch.equal(value, source.state_dict[name])}
    assert equal >= {"features.0.weight", "features.1.bias", "middle.weight"}
    assert not equal & {"classifier.1.weight", "classifier.1.bias"}
    with pytest.raises(CxrflowError, match="add --init-weights"):
        train.train_model(**target)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"preprocess": PreprocessSettings(size_px=32)},
            "holds images of 16x16 px, and the preprocess settings say 32x32",
        ),
        ({"model_id": "toy/tiny"}, "not the path of a model"),
        ({"model_id": "toy/resnet99/scratch/base/seed0"}, "'resnet99' is not a backbone; known: .*resnet34"),
        ({"device": "cuda"}, "sees no GPU"),
    ],
)
def test_what_cannot_be_trained_stops_before_anything_is_written(
    files: dict[str, Any], monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(CxrflowError, match=message):
        train.train_model(**{**files, **change})
    assert not files["model"].exists()
    assert not files["resume"].exists()


@pytest.mark.parametrize(("form", "n", "flip"), [("1", 1, False), ("12/flip", 12, True)])
def test_a_form_is_timed_with_as_many_networks(monkeypatch: pytest.MonkeyPatch, form: str, n: int, flip: bool) -> None:
    """Of different weights, or ONNX Runtime computes one of them alone: it took three for one."""
    timed = Mock(return_value=[1.0])
    monkeypatch.setattr(profile_backbone, "time_answers", timed)
    profile_backbone.time_form(form, "tiny", PreprocessSettings(size_px=18), ProfileSettings())
    networks, *_ = timed.call_args.args
    different = {next(network.parameters()).detach().numpy().tobytes() for network in networks}
    assert (len(different), timed.call_args.kwargs["flip"]) == (n, flip)


def test_profile_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ProfileSettings(repeats=6)
    path = tmp_path / "tiny.json"
    profile_backbone.profile(
        backbone="tiny",
        preprocess=PreprocessSettings(size_px=18),
        batch_size=4,
        forms=["1", "3/flip"],
        settings=settings,
        threads=1,
        profile=path,
    )
    cost = read_json(path)
    assert (cost["backbone"], cost["repeats"], cost["params"]) == ("tiny", 6, count_params(build_tiny()))
    assert cost["gmac_batch"] == cost["gmac"] * cost["batch"] == cost["gmac"] * 32
    assert list(cost["latency_ms"]) == ["1", "3/flip"]
    assert all(0 < each["low"] <= each["median"] <= each["high"] for each in cost["latency_ms"].values())
    assert cost["weights_mib"] == cost["params"] * 4 / 2**20
    assert cost["cpu"]
    assert "Tiny at 18 px: 0.02 M parameters" in capsys.readouterr().out
