"""The check of a config: what is wrong is named, what is right is kept."""

import dataclasses
import json
import typing
from pathlib import Path

import jsonschema
import pytest
import yaml

from cxrflow.config.docs import json_schema, sections, settings_readme
from cxrflow.config.loading import load_study
from cxrflow.config.parsing import find_problems, parse_settings, settings_dict, settings_json
from cxrflow.config.settings import StudySettings, TrainSettings
from cxrflow.errors import CxrflowError

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "config").glob("*.yaml"))


def test_text_that_is_plainly_a_value_is_that_value() -> None:
    assert yaml.safe_load("1e-4") == "1e-4"
    settings = parse_settings(TrainSettings, {"epochs": "3", "learning_rate": "1e-4"})
    assert settings == TrainSettings(epochs=3, learning_rate=1e-4)


@pytest.mark.parametrize(
    ("text", "meant"), [("true", "inverse"), ("off", "none"), ("'False'", "none"), ("none", "none")]
)
def test_a_switch_of_old_configs_means_what_it_meant(text: str, meant: str) -> None:
    value = yaml.safe_load(f"class_weights: {text}")
    assert parse_settings(TrainSettings, value) == TrainSettings(class_weights=meant)
    jsonschema.validate(
        {"study": "x", "datasets": {}, "train": yaml.safe_load("class_weights: off")}, json_schema(StudySettings)
    )


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"epoch": 3}, ["config.epoch", "Did you mean epochs?"]),
        ({"epochs": "ten"}, ["config.epochs", "a whole number", "'ten'"]),
        ({"epochs": 2.5}, ["config.epochs", "a whole number"]),
        ({"epochs": True}, ["config.epochs", "a whole number"]),
        ({"epochs": 0}, ["config.epochs", "out of range", "at least 1"]),
        ({"learning_rate": float("nan")}, ["config.learning_rate", "out of range"]),
        ({"precision": False}, ["config.precision", "YAML reads"]),
        ({"precision": "half"}, ["config.precision", "float32, bfloat16"]),
        ({"class_weights": "no"}, ["config.class_weights", "none, inverse, effective_number"]),
        ([1], ["config", "section of keys"]),
    ],
)
def test_what_is_wrong_is_named(config: object, words: list[str]) -> None:
    with pytest.raises(CxrflowError) as raised:
        parse_settings(TrainSettings, config)
    assert all(word in str(raised.value) for word in words), str(raised.value)


FLOATS = [
    (cls, field.name)
    for cls in sections(StudySettings).values()
    for field in dataclasses.fields(cls)
    if typing.get_type_hints(cls)[field.name] in (float, float | None)
]


@pytest.mark.parametrize(("cls", "name"), FLOATS)
@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
def test_no_setting_is_endless_or_no_number(cls: type, name: str, value: str) -> None:
    """With nan, every comparison with a limit would be passed; with inf, there would be no limit."""
    problems = find_problems(cls, {name: yaml.safe_load(value)}, "config")
    assert f"config.{name}: {float(value.replace('.', ''))!r} is out of range (a finite number)" in problems


def test_every_problem_is_reported_at_once() -> None:
    with pytest.raises(CxrflowError) as raised:
        parse_settings(TrainSettings, {"epochs": "x", "batch_size": "y", "colour": 1})
    assert len(str(raised.value).splitlines()) == 4


def test_a_class_name_that_yaml_reads_as_false_is_refused() -> None:
    config = yaml.safe_load("study: x\ndatasets: {a: {reader: folders, folder: a, classes: {no: healthy}}}")
    with pytest.raises(CxrflowError, match="put it in quotes"):
        parse_settings(StudySettings, config)


def test_json_gives_the_same_settings_back() -> None:
    settings = parse_settings(StudySettings, yaml.safe_load((ROOT / "config/lungs.yaml").read_text()))
    assert parse_settings(StudySettings, json.loads(settings_json(settings))) == settings
    assert settings_dict(settings)["train"]["epochs"] == 50


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_fit_the_schema(path: Path) -> None:
    validator = jsonschema.Draft202012Validator(json_schema(StudySettings))
    below = yaml.safe_load((ROOT / "config/demo.yaml").read_text()) if path.stem == "demo-full" else {}
    config = below | yaml.safe_load(path.read_text())
    assert [error.message for error in validator.iter_errors(config)] == []
    load_study(config)


def test_schema_refuses_an_unknown_key() -> None:
    config = yaml.safe_load((ROOT / "config/quick.yaml").read_text()) | {"trian": {}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(config, json_schema(StudySettings))


def test_generated_documents_are_in_step_with_the_settings() -> None:
    assert (ROOT / "config/README.md").read_text() == settings_readme(StudySettings), "run `make docs`"
    assert json.loads((ROOT / "workflow/schemas/config.schema.json").read_text()) == json_schema(StudySettings), (
        "run `make docs`"
    )


def test_every_setting_has_a_meaning() -> None:
    schema = json_schema(StudySettings)
    for name, section in sections(StudySettings).items():
        assert section.__doc__, name
    for key, value in schema["properties"].items():
        for inner, rule in value.get("properties", {}).items():
            assert rule.get("description"), f"{key}.{inner}"
