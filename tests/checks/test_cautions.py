from pathlib import Path
from typing import Any

import pytest

from cxrflow.checks.cautions import list_cautions
from cxrflow.compare.collect import Results
from tests.compare.fake_study import ONE_MODEL, FakeStudy, collect_fake


def heads(results: Results) -> dict[str, str]:
    return {caution.head: caution.text for caution in list_cautions(results)}


def test_drawn_images_come_first_and_nothing_is_said_of_patients(tmp_path: Path):
    cautions = list_cautions(collect_fake(tmp_path, FakeStudy(config={**ONE_MODEL, "phantoms": {}})))
    assert cautions[0].head == "Drawn X-rays."
    assert not {"Not for patients.", "A sample, not the published set.", "Sources differ by class."} & {
        caution.head for caution in cautions
    }


def test_samples_say_how_many_of_how_many_and_name_the_cap(tmp_path: Path):
    capped = collect_fake(tmp_path, FakeStudy(config={**ONE_MODEL, "index": {"max_images_per_class": 300}}))
    text = heads(capped)["A sample, not the published set."]
    assert "303 of 15,153 images" in text
    assert "at most 300 per class" in text


def test_whole_sets_are_not_called_samples(tmp_path: Path):
    whole = collect_fake(tmp_path, FakeStudy(config={**ONE_MODEL, "score": {"bootstrap_resamples": 0}}, share=1.0))
    assert "A sample, not the published set." not in heads(whole)


def from_dataset(target: str, source: str) -> dict[str, Any]:
    return {"backbones": ["resnet34"], "transfer": {target: {"init": f"from_{source}", "backbone": "resnet34"}}}


@pytest.mark.parametrize(
    ("target", "source", "warned"),
    [
        ("covid", "pneumonia", True),
        ("pneumonia", "covid", True),
        ("xray8", "pneumonia", False),
        ("covid", "xray8", False),
    ],
)
def test_transfer_between_sets_with_common_images_is_warned_of(tmp_path: Path, target: str, source: str, warned: bool):
    results = collect_fake(tmp_path, FakeStudy(config=from_dataset(target, source)))
    assert ("Transfer may leak." in heads(results)) == warned


def test_momentum_is_said_where_it_is_not_torchvisions(results: Results, tmp_path: Path):
    assert "MobileNetV3-Large (0.01)" in heads(results)["Not torchvision's momentum."]
    assert "Not torchvision's momentum." not in heads(collect_fake(tmp_path, FakeStudy(config=ONE_MODEL)))


def test_few_test_patients_are_said(tmp_path: Path):
    tiny = collect_fake(tmp_path, FakeStudy(config=ONE_MODEL, share=0.0001))
    assert "Few test patients." in heads(tiny)


def test_intervals_say_whether_seeds_are_in_them(results: Results, ablated: Results):
    assert "trained once" in heads(results)["Intervals are over patients."]
    assert "table of seeds" in heads(ablated)["Intervals are over patients."]
