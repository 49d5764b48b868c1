"""Variants against the base: their families, verdicts and controls; learning curves and their law."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrflow.checks.cautions_variants import ablation_controls
from cxrflow.compare import paired
from cxrflow.compare.ablation import ablation_rows, describe_ablation
from cxrflow.compare.collect import Results
from cxrflow.compare.learning import (
    Curve,
    describe_learning,
    find_curves,
    fit_power_law,
    learning_rows,
    power_law,
)
from cxrflow.config.layout import ModelId
from cxrflow.results.bootstrap import Estimate
from cxrflow.results.families import adjust_holm
from cxrflow.results.reliability import log_losses
from tests.compare.fake_study import ONE_MODEL, FakeStudy, collect_fake

SKILL = {"base": 0.8, "null": 0.8, "slow": 0.4, "worse": 0.6}
VARIANTS = {
    "null": {"train": {"autocontrast_probability": 0}},
    "slow": {"train": {"learning_rate": 1e-5}},
    "worse": {"preprocess": {"size_px": 64}},
}
ABLATION = {"variants": ["worse"], "negative_controls": ["null"], "positive_controls": ["slow"]}
CONFIG: dict[str, Any] = {**ONE_MODEL, "seeds": [0, 1, 2], "variants": VARIANTS, "ablation": ABLATION}


def with_skill(**skill: float) -> FakeStudy:
    known = SKILL | skill
    return FakeStudy(config=CONFIG, skill=lambda model: known[model.variant] - 0.004 * model.seed)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return ablation_rows(collect_fake(tmp_path_factory.mktemp("ablation"), with_skill()))


def test_controls_run_too_and_are_named(rows: list[dict[str, Any]]) -> None:
    assert {row["variant"]: row["control"] for row in rows} == {"worse": "", "null": "negative", "slow": "positive"}


def test_the_variants_of_a_base_are_one_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def count(p_values: list[float]) -> list[float]:
        sizes.append(len(p_values))
        return adjust_holm(p_values)

    monkeypatch.setattr(paired, "adjust_holm", count)
    config = {**CONFIG, "backbones": ["mobilenet_v3_large", "resnet34"]}
    skill = {"mobilenet_v3_large": 0.0, "resnet34": 0.02}
    fake = FakeStudy(config=config, skill=lambda model: SKILL[model.variant] + skill[model.backbone])
    rows = ablation_rows(collect_fake(tmp_path, fake))
    families = [[row for row in rows if row["backbone"] == title] for title in ("MobileNetV3-Large", "ResNet-34")]
    assert [*families[0], *families[1]] == rows
    assert sizes == [3, 3]


def test_a_verdict_follows_the_corrected_p(rows: list[dict[str, Any]]) -> None:
    assert {row["variant"]: row["verdict"] for row in rows} == {
        "worse": "lower",
        "null": "cannot be told",
        "slow": "lower",
    }
    text = describe_ablation(rows)
    assert text.startswith("Of 3 comparisons, 1 cannot be told from no difference. The others: worse scores lower than")
    assert "null" not in text


def test_cost_stands_beside_the_score(rows: list[dict[str, Any]]) -> None:
    by_variant = {row["variant"]: row for row in rows}
    assert by_variant["null"]["gmac"] == by_variant["null"]["base_gmac"] == pytest.approx(4.786)
    assert by_variant["worse"]["gmac"] is None, "of another image size: not measured"
    assert by_variant["worse"]["train_seconds"] == by_variant["worse"]["base_seconds"] == 400


def test_log_loss_is_compared_after_calibration(tmp_path: Path) -> None:
    """Class weights alone change what a softmax means: probabilities that differ by them have about equal losses."""
    fake = FakeStudy(config={**CONFIG, "ablation": {"variants": ["null", "worse"]}}, skill=with_skill().skill)
    results = collect_fake(tmp_path, fake)
    weights = np.array([1.0, 0.3, 4.0])
    for model in results.select(variant="null"):
        model.training["class_weights"] = dict(zip(model.predictions.class_names, weights, strict=True))
        for predictions in (model.predictions, model.val_predictions):
            weighted = predictions.probabilities * weights
            predictions.probabilities[:] = weighted / weighted.sum(axis=1, keepdims=True)
    rows = {row["variant"]: row for row in ablation_rows(results)}
    raw = [
        np.mean([log_losses(model.predictions.probabilities, model.predictions.labels) for model in models])
        for models in (results.select(variant="null"), results.base_models)
    ]
    assert raw[0] - raw[1] > 0.3
    assert abs(rows["null"]["log_loss_difference"]) < 0.05
    assert rows["worse"]["log_loss_difference_low"] > 0
    change = rows["worse"]["log_loss"] - rows["worse"]["log_loss_base"]
    assert change == pytest.approx(rows["worse"]["log_loss_difference"])


@pytest.mark.parametrize(
    ("skill", "level", "words"),
    [
        ({}, "pass", "All are as they must be."),
        ({"null": 0.6}, "warn", "1 of the negative controls differ"),
        ({"slow": 0.8}, "warn", "1 of the positive controls cannot be told"),
    ],
)
def test_controls_that_come_out_wrong_are_a_caution(
    tmp_path: Path, skill: dict[str, float], level: str, words: str
) -> None:
    verdict = ablation_controls.run(collect_fake(tmp_path, with_skill(**skill)))
    assert verdict.level == level
    assert words in verdict.text


def test_a_study_without_variants_needs_no_controls(results: Results) -> None:
    assert ablation_controls.run(results).level == "pass"


def test_controls_of_one_seed_or_none_judge_nothing(tmp_path: Path) -> None:
    one = FakeStudy(config={**CONFIG, "seeds": [0]}, skill=lambda model: SKILL[model.variant])
    assert ablation_controls.run(collect_fake(tmp_path / "one", one)).level == "unknown"
    none = FakeStudy(config={**CONFIG, "ablation": {"variants": ["worse"]}}, skill=lambda model: SKILL[model.variant])
    assert (
        ablation_controls.run(collect_fake(tmp_path / "none", none)).text
        == "This study has no negative and no positive control."
    )


def test_the_control_that_is_there_is_judged_and_the_other_named(tmp_path: Path) -> None:
    config = {**CONFIG, "ablation": {"variants": ["worse"], "positive_controls": ["slow"]}}
    verdict = ablation_controls.run(collect_fake(tmp_path, FakeStudy(config, skill=lambda model: SKILL[model.variant])))
    assert verdict.level == "unknown"
    assert "As it must be. This study has no negative control." in verdict.text


SHARES = [0.1, 0.25, 0.5]


def learning_study(seeds: list[int]) -> FakeStudy:
    variants = {"share": {"train": {"train_share": SHARES}}, "other": {"train": {"train_share": 0.3, "epochs": 3}}}
    config = {**ONE_MODEL, "seeds": seeds, "variants": variants, "ablation": {"variants": ["share", "other"]}}

    def skill(model: ModelId) -> float:
        share = 1.0 if model.variant == "base" else float(model.variant.split("_")[-1]) if "_" in model.variant else 0.3
        return 0.9 - 0.1 * share**-0.5

    return FakeStudy(config=config, skill=skill)


def test_a_curve_has_the_models_that_differ_in_their_share_alone(tmp_path: Path) -> None:
    results = collect_fake(tmp_path, learning_study([0, 1, 2]))
    (curve,) = find_curves(results)
    assert curve.shares == [*SHARES, 1.0]
    assert curve.model.id.variant == "base"


def test_the_law_is_read_off_and_goes_no_farther_than_twice_the_images() -> None:
    times = np.array([0.1, 0.25, 0.5, 1.0])
    law = fit_power_law(times, power_law(times, 0.9, 0.1, 0.5))
    assert law == pytest.approx([0.9, 0.1, 0.5], abs=1e-3)
    curve = simulated_curve(np.random.default_rng(0), noise=0.01)
    with pytest.raises(ValueError, match=r"no law is trusted at 2\.5"):
        curve.predict(2.5)


def simulated_curve(rng: np.random.Generator, noise: float) -> Curve:
    """Return four scores around the law, with resamples as far from them as they are from it."""
    times = np.array([0.1, 0.25, 0.5, 1.0])
    values = power_law(times, 0.9, 0.1, 0.5) + rng.normal(0, noise, 4)
    scores = [Estimate(v, v - 2 * noise, v + 2 * noise, v + rng.normal(0, noise, 60), 50) for v in values]
    return Curve(model=None, shares=times.tolist(), n_train=[100, 250, 500, 1000], scores=scores, n_seeds=3)  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_interval_of_the_foreseen_score_covers_it() -> None:
    rng, truth = np.random.default_rng(0), float(power_law(2.0, 0.9, 0.1, 0.5))
    ends = [simulated_curve(rng, noise=0.01).predict(2.0)[1:] for _ in range(60)]
    assert 0.85 <= np.mean([low <= truth <= high for low, high in ends]) <= 1


def test_the_foreseen_score_needs_four_sizes_and_three_seeds(tmp_path: Path) -> None:
    results = collect_fake(tmp_path / "three", learning_study([0, 1, 2]))
    results.models[0].training["n_train"] = 700
    for model in results.models:
        share = results.study.train_settings(model.id.variant).train_share
        model.training["n_train"] = round(700 * share)
    rows = learning_rows(results)
    assert [row["source"] for row in rows] == ["measured"] * 4 + ["from the law"]
    assert rows[-1]["n_train"] == 1400
    assert rows[-1]["macro_f1_low"] <= rows[-1]["macro_f1"] <= rows[-1]["macro_f1_high"]
    assert "with 700 train images; the law through the sizes foresees" in describe_learning(rows)
    few = learning_rows(collect_fake(tmp_path / "one", learning_study([0])))
    assert {row["source"] for row in few} == {"measured"}
    assert describe_learning(few).startswith("No law is fitted")
