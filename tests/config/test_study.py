"""Which models a config makes, where they lie, and what a config must not say."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from cxrflow.config.loading import load_study
from cxrflow.config.study import ModelId
from cxrflow.config.variants import control_of
from cxrflow.errors import CxrflowError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def config() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "config/lungs.yaml").read_text()))


def test_the_study_has_twelve_models_and_by_one_switch_eighteen(config: dict[str, Any]) -> None:
    config = config | {"seeds": [0]}
    models = load_study(config).models()
    assert len(models) == len(set(models)) == 12
    assert sum(model.init == "scratch" for model in models) == 9
    assert {model.dataset for model in models if model.init == "imagenet"} == {"covid", "pneumonia", "xray8"}
    assert len(load_study(config | {"transfer_all_backbones": True}).models()) == 18


WEIGHTS = {"file": "mae.safetensors", "sha256": "ab" * 32, "backbone": "resnet50", "trained_on": ["nih"]}


def test_a_dataset_may_have_several_transferred_models(config: dict[str, Any]) -> None:
    """Among them one of named weights, which marks the datasets whose images those have seen."""
    several = [{"init": "imagenet", "backbone": "resnet34"}, {"init": "weights_mae", "backbone": "resnet50"}]
    inits = dict.fromkeys(("covid", "pneumonia", "xray8"), several)
    weights = {"weights": {"mae": WEIGHTS}, "transfer": inits, "seeds": [0]}
    study = load_study(config | weights)
    assert len(study.models()) == 9 + 2 * 3
    named = {model.dataset: model for model in study.models() if model.init == "weights_mae"}
    assert study.init_title("weights_mae") == "from mae"
    assert study.list_reasons(named["xray8"]) == ["its weights have seen images of NIH ChestX-ray14"]
    assert study.may_have_seen_test(named["covid"]), "by way of the RSNA"
    assert not study.may_have_seen_test(named["pneumonia"])
    assert len(load_study(config | weights | {"transfer_all_backbones": True}).models()) == 9 + 9 + 3


def test_seeds_and_ablations_multiply(config: dict[str, Any]) -> None:
    ablation = {"variants": ["no_blur"], "datasets": ["covid"], "backbones": ["resnet34"]}
    models = load_study(config | {"seeds": [0, 1], "ablation": ablation}).models()
    assert len(models) == 2 * (12 + 1)
    assert ModelId("covid", "resnet34", variant="no_blur", seed=1) in models
    both = load_study(config | {"seeds": [0, 1], "ablation": ablation | {"transferred": True}}).models()
    assert {model for model in both if model not in models} == {
        ModelId("covid", "resnet34", "imagenet", "no_blur", seed) for seed in (0, 1)
    }


def test_timed_are_all_forms_that_may_be_chosen_and_one_network_alone(config: dict[str, Any]) -> None:
    study = load_study(config | {"seeds": [0, 1, 2], "select": {"ensembles": True, "flip": True}})
    models = [model for model in study.models() if model != ModelId("covid", "resnet34", seed=1)]
    assert study.list_timed_forms("mobilenet_v3_large", models) == ["1", "3", "1/flip", "3/flip"]
    assert set(study.list_timed_forms("resnet34", models)) == {"1", "2", "3", "1/flip", "2/flip", "3/flip"}
    assert load_study(config).list_timed_forms("resnet34", models) == ["1"]


def test_a_variant_of_the_transfer_alone_is_of_transferred_models_alone(config: dict[str, Any]) -> None:
    ablation = {"variants": ["slow_transfer", "no_blur"], "datasets": ["covid"], "backbones": ["resnet34"]}
    models = load_study(config | {"seeds": [0], "ablation": ablation}).models()
    assert [(m.init, m.variant) for m in models if m.variant != "base"] == [
        ("imagenet", "slow_transfer"), ("scratch", "no_blur"),
    ]  # fmt: skip


def test_the_shipped_ablation_has_both_controls_a_learning_curve_and_three_seeds() -> None:
    study = load_study(yaml.safe_load((ROOT / "config/ablation.yaml").read_text()))
    controls = {name: control_of(study.settings, name) for name in study.variants()}
    assert {name: kind for name, kind in controls.items() if kind} == {
        "no_autocontrast": "negative",
        "lr_tiny": "positive",
    }
    assert {model.variant for model in study.models()} == set(study.variants()), "every variant runs"
    shares = {study.train_settings(name).train_share for name in study.variants()}
    assert shares == {0.1, 0.25, 0.5, 1.0}
    assert study.settings.seeds == (0, 1, 2)


@pytest.mark.parametrize("key", ["seeds", "backbones"])
def test_a_config_without_a_model_is_refused_where_it_is_written(config: dict[str, Any], key: str) -> None:
    """The study ran until `summarize` said that no model was named after --models."""
    with pytest.raises(CxrflowError, match=f"config.{key} is empty, so the study has no model"):
        load_study(config | {"transfer": {}, key: []})
    assert load_study(config | {"backbones": []}).models(), "transferred ones"


def test_a_model_path_is_read_back() -> None:
    model = ModelId("covid", "resnet34", "from_xray8", "lr_3e-4", 12)
    assert model.path == "covid/resnet34/from_xray8/lr_3e-4/seed12"
    assert ModelId.parse(model.path) == model
    with pytest.raises(CxrflowError, match="not the path of a model"):
        ModelId.parse("covid/resnet34")


def test_variants_override_only_what_they_name(config: dict[str, Any]) -> None:
    study = load_study(config)
    assert study.train_settings("lr_3e-4").learning_rate == 3e-4
    assert study.train_settings("lr_3e-4").epochs == study.settings.train.epochs
    assert study.recipe("lr_3e-4") == study.recipe("base") == "256px-equalized-blur5"
    assert study.recipe("no_blur") == "256px-equalized"


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"equalize": "clahe"}, "256px-clahe2x8-blur5"),
        ({"equalize": "clahe", "clahe_clip": 3.5, "clahe_tiles": 4}, "256px-clahe3.5x4-blur5"),
        ({"gamma": 0.5, "blur_px": 0}, "256px-equalized-gamma0.5"),
        ({"size_px": 64, "equalize": "none"}, "64px-blur5"),
        ({"clahe_clip": 3.5}, "256px-equalized-blur5"),
    ],
)
def test_preprocessings_that_differ_have_folders_of_their_own(
    config: dict[str, Any], change: dict[str, Any], name: str
) -> None:
    assert load_study(config | {"variants": {"v": {"preprocess": change}}}).recipe("v") == name


def test_a_grid_is_one_variant_of_each_value(config: dict[str, Any]) -> None:
    """YAML 1.1 reads 3e-4 as text; its variant has the name of the number."""
    grids = {
        "lr": {"train": {"learning_rate": ["3e-4", 1e-3]}},
        "he_x_blur": {"preprocess": {"equalize": ["none", "histogram"], "blur_px": [0, 5]}},
        "single": {"train": {"epochs": 3}},
    }
    study = load_study(config | {"variants": grids, "ablation": {"variants": ["lr", "he_x_blur_none_0"]}, "seeds": [0]})
    assert list(study.variants()) == [
        "base", "lr_0.0003", "lr_0.001", "he_x_blur_none_0", "he_x_blur_none_5", "he_x_blur_histogram_0",
        "he_x_blur_histogram_5", "single",
    ]  # fmt: skip
    assert study.train_settings("lr_0.0003").learning_rate == 3e-4
    assert study.recipe("he_x_blur_none_5") == "256px-blur5"
    assert [m.variant for m in study.models() if m.dataset == "covid" and m.backbone == "resnet34"] == [
        "base", "base", "lr_0.0003", "lr_0.001", "he_x_blur_none_0",
    ]  # fmt: skip


def classes(**names: str) -> dict[str, Any]:
    return {"datasets": {"mine": {"reader": "folders", "folder": "x", "classes": names}}, "transfer": {}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"backbones": ["resnet35"]}, "config.backbones: 'resnet35' is not known"),
        ({"study": "my study"}, "cannot name a folder"),
        ({"datasets": {"a/b": {"reader": "nih", "folder": "x"}}, "transfer": {}}, "cannot name a folder"),
        ({"split": {"train": 0.7, "val": 0.2, "test": 0.2}}, "must add up to 1"),
        ({"preprocess": {"blur_px": 4}}, "4 is even"),
        ({"variants": {"v": {"train": {"epoch": 1}}}}, "config.variants.v.train.epoch"),
        ({"variants": {"v": {"preprocess": {"blur_px": 2}}}}, "2 is even"),
        ({"variants": {"base": {}}}, "this name is taken"),
        ({"variants": {"lr": {"train": {"learning_rate": []}}}}, "config.variants.lr: it lists no value"),
        ({"variants": {"lr": {"train": {"learning_rate": ["1e-3", 0.001]}}}}, "'lr_0.001' would be the name of 2"),
        ({"variants": {"v": {"train": {"epochs": [1, 0]}}}}, "config.variants.v_0.train.epochs: 0 is out of range"),
        ({"variants": {"v": {"train": {"epochs": [[1]]}}}}, "config: 'v_[1]' cannot name a folder"),
        ({"ablation": {"variants": ["no_such"]}}, "'no_such' is not known"),
        ({"ablation": {"negative_controls": ["no_such"]}}, "config.ablation.negative_controls: 'no_such' is not known"),
        ({"transfer": {"covid": {"init": "from_covid", "backbone": "resnet34"}}}, "'from_covid' is not known"),
        ({"weights": {"mae": WEIGHTS | {"sha256": "ab"}}}, "config.weights.mae.sha256: expected 64 hex digits"),
        ({"weights": {"mae": WEIGHTS | {"keys": {"(": ""}}}}, "config.weights.mae.keys: '(': '' is not a replacement"),
        ({"weights": {"mae": WEIGHTS | {"trained_on": ["cxr14"]}}}, "config.weights.mae.trained_on: 'cxr14' is not"),
        (
            {"weights": {"mae": WEIGHTS}, "transfer": {"covid": {"init": "weights_mae", "backbone": "resnet34"}}},
            "config.transfer.covid.init: 'weights_mae' is not known",  # of that backbone
        ),
        ({"phantoms": {"images_per_class_of": {"xray9": 20}}}, "images_per_class_of: 'xray9' is not known"),
        ({"phantoms": {"images_per_class_of": {"xray8": 3}}}, "images_per_class_of.xray8: 3 is out of range"),
        (
            classes(a="Covid", b="covid "),
            "config.datasets.mine.classes: 'Covid', 'covid ' differ by case or blanks only",
        ),
        (
            {"datasets": {"mine": {"reader": "folders", "folder": "x", "table": "a.csv"}}, "transfer": {}},
            "config.datasets.mine.table: the reader folders does not read it, csv does",
        ),
        (classes(a=" ", b="x"), "config.datasets.mine.classes.a: the class has no name"),
        ({"seeds": [0, 1, 0]}, "config.seeds: 0 is given twice"),
        ({"seeds": []}, "config.seeds is empty"),
        ({"seeds": [-1]}, "config.seeds[0]: -1 is out of range"),
        ({"embed": {"seed": 2**32}}, "config.embed.seed: 4294967296 is out of range"),
        ({"backbones": ["resnet34", "resnet34"]}, "config.backbones: 'resnet34' is given twice"),
        ({"datasets": {}, "transfer": {}}, "config.datasets is empty"),
        ({"ablation": {"datasets": ["covid", "covid"]}}, "config.ablation.datasets: 'covid' is given twice"),
        ({"ablation": {"variants": ["no_blur", "no_blur"]}}, "config.ablation.variants: 'no_blur' is given twice"),
        ({"variants": {"Deep": {}, "deep": {}}}, "config.variants: 'Deep' differs from another name by case only"),
        ({"transfer": {"mars": {"init": "imagenet", "backbone": "resnet34"}}}, "'mars' is not known"),
    ],
)
def test_contradictions_are_named(config: dict[str, Any], change: dict[str, Any], words: str) -> None:
    with pytest.raises(CxrflowError) as raised:
        load_study(config | change)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    "dataset",
    [
        {"title": "X\x1b[2J"},
        {"title": "over two\nlines"},
        {"classes": {"a\x07": "b"}},
        {"classes": {"a": "\u202eb"}},
        {"citation": "A\x1b]0;B"},
        {"skip": ["\r"]},
    ],
)
def test_control_characters_are_refused_and_reach_no_terminal(config: dict[str, Any], dataset: dict[str, Any]) -> None:
    """A title that clears the screen, or a class whose name is written backwards."""
    mine = {"datasets": {"mine": {"reader": "folders", "folder": "x", **dataset}}, "transfer": {}}
    with pytest.raises(CxrflowError, match=r"config\.datasets\.mine\..* has the control characters") as raised:
        load_study(config | mine)
    assert str(raised.value).replace("\n", "").isprintable()


def test_an_unknown_key_reaches_no_terminal_as_it_is(config: dict[str, Any]) -> None:
    with pytest.raises(CxrflowError, match=r"config\.a\\x1bb is not a setting"):
        load_study(config | {"a\x1bb": 1})


def test_text_may_have_lines_joiners_and_every_sign(config: dict[str, Any]) -> None:
    dataset = {"reader": "folders", "folder": "x", "title": "پایگاه\u200cداده {3} $x `y`", "citation": "A.\nB.\n"}
    study = load_study(config | {"datasets": {"mine": dataset}, "transfer": {}})
    assert study.settings.datasets["mine"].title == dataset["title"]


def test_an_empty_config_says_how_to_choose_a_study() -> None:
    with pytest.raises(CxrflowError, match="--configfile"):
        load_study({})


def test_what_the_results_depend_on_holds_no_places(config: dict[str, Any]) -> None:
    moved = {
        "data_root": "/other",
        "weights_root": "/other",
        "weights_url": "https://mirror.example",
        "compute": {"device": "cuda", "threads": 3, "gpus": 4},
    }
    here, there = load_study(config), load_study(config | moved)
    assert here.settings_without_places() == there.settings_without_places() != there.settings
    retrained = load_study(config | moved | {"train": {"epochs": 3}})
    assert retrained.settings_without_places() != here.settings


def test_a_models_name_does_not_follow_the_title_of_its_dataset(config: dict[str, Any]) -> None:
    model = ModelId("covid", "resnet34", "from_xray8", "no_blur", 1)
    study = load_study(config)
    assert study.model_title(model) == "ResNet-34 on COVID-19 Radiography, from ChestX-ray8, no_blur, seed 1"
    assert study.model_name(model) == "ResNet-34 on covid, from_xray8, no_blur, seed 1"


def test_missing_data_is_said_with_the_remedy(config: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "covid").mkdir()
    lines = load_study(config | {"data_root": str(tmp_path)}).missing_data()
    assert [line.split(":")[0] for line in lines] == ["pneumonia", "xray8"]
    assert str(tmp_path / "xray8") in lines[1]
    assert "data_root" in lines[1]
