from collections.abc import Callable
from pathlib import Path

import pytest

from cxrflow.compare.collect import Results, collect_results, group_seeds
from cxrflow.errors import CxrflowError
from tests.compare.fake_study import ONE_MODEL, FakeStudy, write_fake_study


def test_every_model_and_what_belongs_to_it_is_read(results: Results):
    assert len(results.models) == 12
    assert list(results.datasets) == ["covid", "pneumonia", "xray8"]
    assert list(results.profiles) == ["mobilenet_v3_large", "efficientnet_b1", "resnet34"]
    covid = results.datasets["covid"]
    assert sum(sum(counts.values()) for counts in covid.counts.values()) == covid.n_images


def test_only_datasets_of_named_models_are_read(results: Results):
    part = collect_results(results.root, results.study, ["covid/resnet34/scratch/base/seed0"])
    assert list(part.datasets) == ["covid"]
    assert list(part.profiles) == ["resnet34"]


def test_seeds_are_grouped(ablated: Results):
    groups = group_seeds(ablated.models)
    assert {len(members) for members in groups.values()} == {2}
    assert len(groups) == len(ablated.models) / 2


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ([], "no model is named"),
        (["covid/resnet34/scratch/base/seed0"] * 2, "named 2 times"),
        (["covid/vgg/scratch/base/seed0"], "no backbone 'vgg'"),
        (["other/resnet34/scratch/base/seed0"], "no dataset 'other'"),
        (["covid/resnet34"], "expected dataset/backbone"),
    ],
)
def test_wrong_model_names_are_refused(results: Results, paths: list[str], message: str):
    with pytest.raises(CxrflowError, match=message):
        collect_results(results.root, results.study, paths)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("training.json", lambda text: text.replace('"seed": 0', '"seed": 7'), "is of another model"),
        ("history.csv", lambda text: text.splitlines()[0] + "\n", "has no epochs"),
        ("metrics.json", lambda text: None, r"metrics\.json does not exist"),
    ],
)
def test_a_file_that_is_not_the_models_is_named_when_it_is_asked_for(
    tmp_path: Path, name: str, damage: Callable[[str], str | None], message: str
):
    study, paths = write_fake_study(tmp_path, FakeStudy(config=ONE_MODEL))
    file = tmp_path / "models" / paths[0] / name
    text = damage(file.read_text())
    file.unlink()
    if text is not None:
        file.write_text(text)
    model = collect_results(tmp_path, study, paths).models[0]
    assert len(model.predictions.labels)
    with pytest.raises(CxrflowError, match=message):
        getattr(model, file.stem)
