"""What a study of several findings per image cannot have is refused before any job."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from cxrflow.config.loading import load_study
from cxrflow.errors import CxrflowError

ROOT = Path(__file__).parents[2]
PROBE = {"file": "a", "sha256": "0" * 64, "backbone": "resnet34", "head": "probe"}
COVID = {"reader": "covid_radiography", "folder": "covid"}


@pytest.fixture
def config() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "config/nih14.yaml").read_text()))


def test_the_shipped_study_has_the_fourteen_labels_and_the_published_split(config: dict[str, Any]) -> None:
    study = load_study(config)
    assert study.has_findings
    assert len(set(study.settings.datasets["xray8"].findings)) == 14
    assert study.settings.split.source == "published"
    assert len(study.models()) == 3 * 2 * 3  # backbones, from scratch and from ImageNet, seeds


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train": {}}, "config.train: class_weights must be none, as `findings` are given"),
        ({"train": {"class_weights": "none", "loss": "focal"}}, "config.train: loss must be cross_entropy"),
        ({"train": {"class_weights": "none", "label_smoothing": 0.1}}, "config.train: label_smoothing must be 0.0"),
        ({"train": {"class_weights": "none", "kept_epoch": "val_macro_f1"}}, "kept_epoch must be val_loss or last"),
        ({"variants": {"focal": {"train": {"loss": "focal"}}}}, "config.variants.focal.train: loss must be"),
        ({"variants": {"lr": {}}, "ablation": {"variants": ["lr"]}}, "config.ablation: this is of one class per image"),
        (
            {"tune": {"found": {"dataset": "xray8", "backbone": "resnet34", "space": {"learning_rate": [1e-3, 1e-4]}}}},
            "config.tune: this is of one class per image",
        ),
        ({"strict": True}, "config.strict: this is of one class per image"),
        ({"weights": {"a": PROBE}}, "config.weights.a.head: this is of one class per image"),
    ],
)
def test_what_is_of_one_class_per_image_is_refused(config: dict[str, Any], change: dict[str, Any], words: str) -> None:
    with pytest.raises(CxrflowError) as raised:
        load_study(config | change)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("xray8", {"classes": {"Mass": "mass", "Nodule": "nodule"}}, "config.datasets.xray8.classes: this is of one"),
        ("xray8", {"lesion_masks": "masks"}, "config.datasets.xray8.lesion_masks: this is of one"),
        ("xray8", {"reader": "folders"}, "config.datasets.xray8.findings: the reader folders does not read it, nih"),
        ("covid", COVID, "config.datasets.covid: it has one class per image, and another dataset has `findings`"),
    ],
)
def test_datasets_that_do_not_go_together_are_refused(
    config: dict[str, Any], name: str, change: dict[str, Any], words: str
) -> None:
    config["datasets"][name] = config["datasets"].get(name, {}) | change
    with pytest.raises(CxrflowError) as raised:
        load_study(config)
    assert words in str(raised.value)
