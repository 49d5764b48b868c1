from dataclasses import replace
from pathlib import Path

import pytest

from cxrflow.config.layout import Layout
from cxrflow.config.loading import load_study
from cxrflow.config.made import describe_differences, list_made, study_as_made
from cxrflow.config.parsing import settings_dict
from cxrflow.config.study import Study
from cxrflow.files.provenance import record_path, save_record

CONFIG = {
    "study": "toy",
    "datasets": {name: {"reader": "folders", "folder": name} for name in "ab"},
    "backbones": ["resnet34"],
    "variants": {"raw": {"preprocess": {"equalize": False}}},
    "ablation": {"variants": ["raw"]},
    "train": {"epochs": 2},
}


def make_files(study: Study, layout: Layout) -> None:
    """Write empty files with the records of a study that was computed."""

    def record(path: Path, **settings: object) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        plain = {name: settings_dict(value) for name, value in settings.items()}
        save_record(record_path(path), {"stage": "s", "settings": plain, "inputs": {}, "outputs": {path.name: "0"}})

    for dataset in study.settings.datasets:
        record(layout.index(dataset), settings=study.settings.index)
        record(layout.split(dataset), settings=study.settings.split)
    for model in study.models():
        preprocess, train = study.preprocess_settings(model.variant), study.train_settings(model.variant)
        record(layout.model_file(model, "model.pt"), preprocess=preprocess, settings=train)
        evaluate, explain = study.settings.evaluate, study.settings.explain
        record(layout.model_file(model, "predictions.csv"), settings=evaluate, explain=explain)
        record(layout.model_file(model, "metrics.json"), settings=study.settings.score, embed=study.settings.embed)


@pytest.fixture
def finished(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "toy")
    study = load_study(CONFIG)
    make_files(study, layout)
    assert describe_differences(list_made(study, layout, study.models())) == ""
    assert study_as_made(study, layout, study.models()) == study
    return layout


def test_a_switch_that_has_got_more_choices_is_no_difference(tmp_path: Path) -> None:
    study = load_study(CONFIG)
    make_files(study, layout := Layout(tmp_path))
    model = study.models()[0]
    train = settings_dict(study.settings.train) | {"class_weights": True}
    record = {
        "stage": "s",
        "settings": {"settings": train, "preprocess": {}},
        "inputs": {},
        "outputs": {"model.pt": "0"},
    }
    save_record(record_path(layout.model_file(model, "model.pt")), record)
    assert describe_differences(list_made(study, layout, study.models())) == ""


def test_a_study_is_what_its_files_were_made_with(finished: Layout) -> None:
    now = load_study({**CONFIG, "train": {"epochs": 50}, "split": {"seed": 7}})
    words = describe_differences(list_made(now, finished, now.models()))
    assert words == "split.seed: 0, now 7 (2 files); train.epochs: 2, now 50 (4 files)"
    made = study_as_made(now, finished, now.models())
    assert made.settings == replace(now.settings, split=made.settings.split, train=made.settings.train)
    assert (made.settings.train.epochs, made.settings.split.seed) == (2, 0)


def test_files_that_do_not_agree_change_nothing(finished: Layout) -> None:
    now = load_study({**CONFIG, "train": {"epochs": 50}})
    one = now.models()[0]
    path = finished.model_file(one, "model.pt")
    settings = {"preprocess": settings_dict(now.settings.preprocess), "settings": settings_dict(now.settings.train)}
    save_record(record_path(path), {"stage": "s", "settings": settings, "inputs": {}, "outputs": {path.name: "0"}})
    assert study_as_made(now, finished, now.models()).settings.train.epochs == 50
    assert describe_differences(list_made(now, finished, now.models())) == "train.epochs: 2, now 50 (3 files)"


def test_what_is_gone_or_has_no_record_says_nothing(finished: Layout) -> None:
    now = load_study({**CONFIG, "score": {"bootstrap_resamples": 0}})
    for model in now.models():
        finished.model_file(model, "metrics.json").unlink()
    assert describe_differences(list_made(now, finished, now.models())) == ""
