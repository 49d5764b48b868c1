"""What a search may say in the config, how many runs it has, and how what it found becomes a variant."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from cxrflow.config.loading import load_study
from cxrflow.config.settings import Range, TuneSettings
from cxrflow.config.study import ModelId
from cxrflow.config.tuning import parse_space, plan_runs
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import write_json

ROOT = Path(__file__).resolve().parents[2]
SPACE = {"learning_rate": {"low": "1e-4", "high": 1e-2, "log": "true"}, "batch_size": [16, "32"], "blur_px": [0, 5]}
SEARCH = {"dataset": "covid", "backbone": "resnet34", "generations": 3, "per_generation": 4, "space": SPACE}


@pytest.fixture
def config() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "config/lungs.yaml").read_text()))


def with_search(config: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return config | {"tune": {"tuned": {**SEARCH, **changes}}}


def test_a_space_has_the_types_of_the_settings_and_every_recipe_is_known(config: dict[str, Any]) -> None:
    study = load_study(with_search(config))
    space = parse_space(study.searches()["tuned"], study.base_settings())
    assert space == {"learning_rate": Range(low=1e-4, high=1e-2, log=True), "batch_size": (16, 32), "blur_px": (0, 5)}
    assert {"256px-equalized", "256px-equalized-blur5"} <= set(study.recipes())
    assert study.searches()["tuned"].rungs == (study.settings.train.epochs,)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"space": {}}, r"config\.tune\.tuned\.space is empty"),
        ({"space": {"lerning_rate": [1, 2]}}, r"space\.lerning_rate is not a setting. Did you mean learning_rate\?"),
        ({"space": {"epochs": [1, 2]}}, r"space\.epochs is not a setting"),
        ({"space": {"learning_rate": {"low": 0, "high": 1, "log": True}}}, "low must be below high, and above 0"),
        ({"space": {"learning_rate": {"low": 1, "high": 1}}}, "low must be below high"),
        ({"space": {"learning_rate": {"lo": 1, "high": 1}}}, r"learning_rate\.lo is not a setting. Did you mean low"),
        ({"space": {"batch_size": [16]}}, r"batch_size: expected a list of different values"),
        ({"space": {"batch_size": [16, 1]}}, r"batch_size: 1 is out of range"),
        ({"space": {"batch_size": {"low": 2.5, "high": 8}}}, r"batch_size: expected a whole number"),
        ({"space": {"blur_px": {"low": 0, "high": 3}}}, r"blur_px: expected a list of the values to try"),
        ({"space": {"blur_px": [0, 4]}}, r"blur_px .*: 4 is even"),
        ({"rungs": [4, 2]}, r"rungs: \[4, 2\] must go up"),
        ({"seed": 0}, r"seed: 0 is one of config\.seeds"),
        ({"backbone": "vgg99"}, r"covid/vgg99/scratch is no base model of this study"),
        ({"sampler": "grid"}, r"sampler: 'grid' is not one of tpe, random"),
        ({"generation": 3}, r"config\.tune\.tuned\.generation is not a setting. Did you mean generations\?"),
    ],
)
def test_what_a_search_must_not_say_is_named(config: dict[str, Any], changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(CxrflowError, match=problem):
        load_study(with_search(config, **changes))


def test_a_search_and_a_variant_do_not_share_a_name(config: dict[str, Any]) -> None:
    with pytest.raises(CxrflowError, match=r"config\.variants\.tuned: a search has this name"):
        load_study(with_search(config) | {"variants": {"tuned": {}}})


def test_the_runs_follow_from_the_config_and_longer_rungs_have_fewer() -> None:
    tune = TuneSettings(**{**SEARCH, "generations": 3, "per_generation": 8, "rungs": (2, 4, 8)})
    runs = plan_runs(tune)
    assert [run.number for run in runs] == list(range(len(runs)))
    assert Counter(run.rung for run in runs) == {0: 3 * 8, 1: 3 * 4, 2: 3 * 2}
    assert Counter((run.generation, run.rung) for run in runs if run.generation in (0, 2, 4)) == {
        (0, 0): 8,
        (2, 0): 8,
        (2, 1): 4,
        (2, 2): 2,
        (4, 2): 2,
    }
    longer = TuneSettings(**{**vars(tune), "generations": 5})
    known = [run for run in runs if run.generation < 3]
    assert plan_runs(longer)[: len(known)] == known, "more generations change none of those before"


def test_what_a_search_found_is_a_variant_with_models_of_its_own(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = with_search(config) | {"seeds": [0, 1]}
    study = load_study(config)
    before = study.models()
    assert not any(model.variant == "tuned" for model in before)
    write_json(study.layout.tuned("tuned"), {"parameters": {"learning_rate": 0.002, "blur_px": 0}})
    study = load_study(config)
    found = {ModelId("covid", "resnet34", variant="tuned", seed=seed) for seed in (0, 1)}
    assert set(study.models()) - set(before) == found
    assert study.train_settings("tuned").learning_rate == 0.002
    assert study.recipe("tuned") == "256px-equalized"
    assert not load_study(config | {"leave_out": ["covid"]}).searches()
