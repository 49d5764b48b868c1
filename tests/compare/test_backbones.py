"""Which backbone: pairs, standings and the sentence about them say the same."""

from pathlib import Path
from typing import Any

import pytest

from cxrflow.compare.backbones import backbone_rows, describe_standing, standing_rows
from cxrflow.compare.collect import Results
from tests.compare.fake_study import ONE_MODEL, FakeStudy, collect_fake

BACKBONES = ["mobilenet_v3_large", "efficientnet_b1", "resnet34"]
TITLE = "COVID-19 Radiography"


def compare(folder: Path, mobilenet: float, efficientnet: float, resnet: float, **config: Any) -> Results:
    skill = dict(zip(BACKBONES, (mobilenet, efficientnet, resnet), strict=True))
    config = {**ONE_MODEL, "backbones": BACKBONES, **config}
    return collect_fake(folder, FakeStudy(config=config, skill=lambda model: skill[model.backbone]))


def test_pairs_of_backbones_are_judged_together(tmp_path: Path):
    """Three backbones are three pairs; what one training differs is not said of the backbone."""
    rows = backbone_rows(compare(tmp_path / "one", 0.5, 0.9, 0.9))
    assert [(row["backbone"], row["other"]) for row in rows] == [
        ("MobileNetV3-Large", "EfficientNet-B1"), ("MobileNetV3-Large", "ResNet-34"), ("EfficientNet-B1", "ResNet-34"),
    ]  # fmt: skip
    assert [row["verdict"] for row in rows] == [
        "this training of EfficientNet-B1 is higher", "this training of ResNet-34 is higher", "cannot be told",
    ]  # fmt: skip
    assert all(row["p_holm"] >= row["p"] for row in rows)
    spread = rows[0]["difference_high"] - rows[0]["difference_low"]
    assert rows[0]["detectable"] == pytest.approx(2.8 * spread / (2 * 1.96), rel=0.1)
    several = compare(tmp_path / "two", 0.5, 0.9, 0.9, seeds=[0, 1, 2])
    assert backbone_rows(several)[0]["verdict"] == "EfficientNet-B1 is higher"


@pytest.mark.parametrize(
    ("skills", "ranks", "words"),
    [
        (
            (0.5, 0.9, 0.9),
            {"MobileNetV3-Large": (3, 3, 3), "EfficientNet-B1": (1, 1, 2), "ResNet-34": (2, 1, 2)},
            "EfficientNet-B1 and ResNet-34 cannot be told apart; MobileNetV3-Large is below EfficientNet-B1 and ",
        ),
        (
            (0.3, 0.6, 0.95),
            {"ResNet-34": (1, 1, 1), "EfficientNet-B1": (2, 2, 2), "MobileNetV3-Large": (3, 3, 3)},
            "EfficientNet-B1 is below ResNet-34; MobileNetV3-Large is below EfficientNet-B1 and ResNet-34",
        ),
        (
            (0.8, 0.8, 0.8),
            dict.fromkeys(["MobileNetV3-Large", "EfficientNet-B1", "ResNet-34"], (None, 1, 3)),
            "cannot be told apart; a true difference would have to be",
        ),
    ],
)
def test_ranks_hold_what_the_pairs_hold(
    tmp_path: Path, skills: tuple[float, ...], ranks: dict[str, tuple[int | None, int, int]], words: str
) -> None:
    results = compare(tmp_path, *skills, seeds=[0, 1])
    rows, pairs = standing_rows(results), backbone_rows(results)
    found = {row["backbone"]: (row["rank"], row["rank_low"], row["rank_high"]) for row in rows}
    assert {name: ends[1:] for name, ends in found.items()} == {name: ends[1:] for name, ends in ranks.items()}
    assert [row["macro_f1"] for row in rows] == sorted((row["macro_f1"] for row in rows), reverse=True)
    assert words in describe_standing(rows, pairs, TITLE)
    assert "(mean of 2 seeds)" in describe_standing(rows, pairs, TITLE)


def test_one_training_each_and_few_patients_say_so(tmp_path: Path) -> None:
    once = compare(tmp_path / "once", 0.5, 0.9, 0.9)
    assert "of the backbones, nothing can be told" in describe_standing(standing_rows(once), backbone_rows(once), TITLE)
    none = compare(tmp_path / "none", 0.5, 0.9, 0.9, score={"bootstrap_resamples": 0})
    said = describe_standing(standing_rows(none), backbone_rows(none), TITLE)
    assert said.startswith("cannot be told, as there are no intervals")
    assert {(row["rank_low"], row["rank_high"]) for row in standing_rows(none)} == {(1, 3)}


def test_a_difference_of_a_few_lucky_trainings_is_no_verdict(tmp_path: Path) -> None:
    """The swap test knows these trainings alone; the interval has their spread in it, and a verdict needs both."""
    fake = FakeStudy(
        config={**ONE_MODEL, "backbones": BACKBONES[1:], "seeds": [0, 1, 2]},
        skill=lambda model: {0: 0.9, 1: 0.9, 2: 0.35 if model.backbone == "resnet34" else 0.9}[model.seed],
    )
    (row,) = backbone_rows(collect_fake(tmp_path, fake))
    assert row["p"] < 0.001 < 0.05 < row["p_holm"]
    assert row["verdict"] == "cannot be told"
