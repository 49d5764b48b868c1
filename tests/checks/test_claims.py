"""Each claim must be answered both ways when the numbers are turned, and left open when they cannot tell."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrflow.checks.claims_scores import (
    class_weights_gain,
    correct_for_chance,
    covid_above_pneumonia,
    covid_distinct,
    preprocessing_gain,
    similar_datasets,
    transfer_gain,
    xray8_by_classes,
    xray8_lowest,
)
from cxrflow.checks.claims_training import epoch_time, larger_overfit_earlier, overfit_after_50, restarts_show
from cxrflow.checks.claims_views import flip_views
from cxrflow.checks.registry import FAMILY, judge_checks, list_verdicts, load_check
from cxrflow.checks.verdicts import ERROR, FAIL, PASS, UNKNOWN, WARN, Check, Verdict, judge_difference, write_p
from cxrflow.compare.collect import ModelResult, Results
from cxrflow.config.layout import ModelId
from cxrflow.files.formats import join_words
from cxrflow.files.records import EpochRow
from cxrflow.results.bootstrap import Estimate
from cxrflow.results.families import ALPHA
from tests.compare.fake_study import ONE_MODEL, FakeStudy, all_said, collect_fake

MOBILENET_ONLY = {
    "backbones": ["mobilenet_v3_large"],
    "transfer": {},
    "score": {"bootstrap_resamples": 100},
    "seeds": [0, 1],
}
ONCE = {**MOBILENET_ONLY, "seeds": [0]}
NO_TRANSFER = {"transfer": {}, "score": {"bootstrap_resamples": 0}, "seeds": [0, 1]}


def ask(check: Check, results: Results) -> Verdict:
    """At the level of the first step of Holm's procedure, 0.05 / 11: that of Bonferroni's."""
    return check.run(results, ALPHA / len(list_verdicts()[FAMILY])) if check.is_test else check.run(results)


def epochs(train: list[float], val: list[float], seconds: float = 10.0) -> list[EpochRow]:
    losses = enumerate(zip(train, val, strict=True), start=1)
    return [EpochRow(epoch, 1e-3, t, 0.5, v, 0.5, seconds, 100.0) for epoch, (t, v) in losses]


def lowest_at(epoch: int, length: int = 30) -> list[EpochRow]:
    """A validation loss that falls to `epoch` and rises after it."""
    val = [1.0 + 0.02 * abs(i - epoch) for i in range(1, length + 1)]
    return epochs([1.0] * length, val)


def by_backbone(**at: int) -> Callable[[ModelId], list[EpochRow]]:
    return lambda model: lowest_at(at[model.backbone])


def skill_of(**share: float) -> Callable[[ModelId], float]:
    return lambda model: share[model.dataset]


def study(folder: Path, config: dict[str, Any], **fake: Any) -> Results:
    return collect_fake(folder, FakeStudy(config=config, **fake))


@pytest.mark.parametrize(
    ("mobilenet", "efficientnet", "resnet", "level", "words"),
    [
        (25, 15, 5, PASS, "MobileNetV3-Large 25.*ResNet-34 5"),
        (5, 15, 25, FAIL, ""),
        (15, 5, 15, UNKNOWN, ""),
        (30, 30, 30, UNKNOWN, "No model overfits within 30 epochs"),
    ],
)
def test_larger_backbones_overfit_earlier(
    tmp_path: Path, mobilenet: int, efficientnet: int, resnet: int, level: str, words: str
):
    history = by_backbone(mobilenet_v3_large=mobilenet, efficientnet_b1=efficientnet, resnet34=resnet)
    claim = ask(larger_overfit_earlier, study(tmp_path, NO_TRANSFER, history=history))
    assert claim.level == level
    assert re.search(words, all_said(claim))


@pytest.mark.parametrize("check", [larger_overfit_earlier, restarts_show, xray8_lowest, transfer_gain])
def test_one_model_leaves_open_what_needs_others(tmp_path: Path, check: Check):
    assert ask(check, study(tmp_path, ONE_MODEL)).level == UNKNOWN


def saw(height: float, length: int = 30, every: int = 10) -> Callable[[ModelId], list[EpochRow]]:
    """A loss that changes by `height` at restarts and wobbles a little elsewhere."""

    def history(model: ModelId) -> list[EpochRow]:
        wobble = np.random.default_rng(list(model.dataset.encode())).normal(0, 0.01, length)
        steps = [height if i and i % every == 0 else float(wobble[i]) for i in range(length)]
        loss = [5.0 + float(value) for value in np.cumsum(steps)]
        return epochs(loss, loss)

    return history


@pytest.mark.parametrize(("height", "level"), [(0.5, WARN), (-0.5, FAIL), (0.004, UNKNOWN)])
def test_restarts_show_where_the_loss_jumps(tmp_path: Path, height: float, level: str):
    claim = ask(restarts_show, study(tmp_path, MOBILENET_ONLY, history=saw(height)))
    assert claim.level == level, claim.text
    assert "12 restarts of 6 models" in claim.text


@pytest.mark.parametrize(("other", "level"), [(0.1, PASS), (0.9, FAIL), (0.499, UNKNOWN)])
def test_restarts_impact_mobilenet_the_most_only_if_another_backbone_clearly_less(
    tmp_path: Path, other: float, level: str
):
    rises = {"mobilenet_v3_large": 0.5, "resnet34": other}

    def history(model: ModelId) -> list[EpochRow]:
        luck = np.random.default_rng(list(model.path.encode())).normal(0, 0.02, 30)
        rows = saw(rises[model.backbone])(model)
        return [replace(row, train_loss=row.train_loss + float(luck[i])) for i, row in enumerate(rows)]

    config = {**MOBILENET_ONLY, "backbones": [*rises], "score": {"bootstrap_resamples": 0}}
    assert ask(restarts_show, study(tmp_path, config, history=history)).level == level


@pytest.mark.parametrize(
    ("lowest", "length", "n_seeds", "level", "words"),
    [
        (20, 60, 10, FAIL, "10 of 10 trainings overfit before"),
        (20, 60, 5, UNKNOWN, "5 of 5 trainings overfit before"),
        (20, 60, 1, UNKNOWN, "Each was trained once"),
        (5, 10, 9, UNKNOWN, "9 of 9 .* they are 10 epochs"),
        (55, 60, 10, PASS, "Every one does later"),
        (55, 60, 5, UNKNOWN, "5 seeds of a model cannot show"),
        (60, 60, 9, UNKNOWN, "0 of 9"),
    ],
)
def test_overfitting_after_50_epochs(tmp_path: Path, lowest: int, length: int, n_seeds: int, level: str, words: str):
    config = {**ONE_MODEL, "seeds": [*range(n_seeds)], "score": {"bootstrap_resamples": 0}}
    found = ask(overfit_after_50, study(tmp_path, config, history=lambda model: lowest_at(lowest, length)))
    assert found.level == level
    assert re.search(words, found.text), found.text


@pytest.mark.parametrize(
    ("p_claimed", "p_opposite", "level"),
    [(0.003, 1.0, UNKNOWN), (0.001, 1.0, PASS), (1.0, 0.003, UNKNOWN), (1.0, 0.001, FAIL)],
)
def test_each_of_two_directions_is_tested_at_half_of_the_level(
    results: Results, monkeypatch: pytest.MonkeyPatch, p_claimed: float, p_opposite: float, level: str
) -> None:
    """The level of a claim among all is 0.05 / 11 = 0.0045."""
    monkeypatch.setattr("cxrflow.checks.claims_training.rank_order_p", lambda blocks: (p_claimed, p_opposite))
    assert ask(larger_overfit_earlier, results).level == level


@pytest.mark.parametrize("claim", [xray8_lowest, covid_above_pneumonia, restarts_show, similar_datasets])
def test_one_training_tells_nothing_of_a_procedure(tmp_path: Path, claim: Check) -> None:
    skill = skill_of(covid=0.97, pneumonia=0.6, xray8=0.2)
    found = ask(claim, study(tmp_path, ONCE, skill=skill, history=saw(0.5)))
    assert found.level == UNKNOWN
    assert "of the procedure, nothing can be told" in found.text


def test_an_end_that_is_printed_as_zero_is_not_clear_of_it() -> None:
    none = np.zeros(0)
    ends = [(0.004, 0.5), (0.006, 0.5), (-0.5, -0.004), (-0.5, -0.006), (None, None)]
    levels = [judge_difference(Estimate(0.2, low, high, none)) for low, high in ends]
    assert levels == [UNKNOWN, PASS, UNKNOWN, FAIL, UNKNOWN]


def test_datasets_without_intervals_are_not_called_similar(tmp_path: Path) -> None:
    found = ask(similar_datasets, study(tmp_path, {**MOBILENET_ONLY, "score": {"bootstrap_resamples": 0}}))
    assert "ChestX-ray8, COVID-19 Radiography and Paediatric pneumonia without an interval" in found.text


@pytest.mark.parametrize("length", [1, 9, 10])
def test_one_cycle_has_no_restart(tmp_path: Path, length: int):
    claim = ask(restarts_show, study(tmp_path, MOBILENET_ONLY, history=saw(0.5, length=length)))
    assert claim.level == UNKNOWN
    assert "never restarts" in claim.text


@pytest.mark.parametrize(
    ("skills", "level"),
    [
        ({"covid": 0.95, "pneumonia": 0.8, "xray8": 0.3}, PASS),
        ({"covid": 0.3, "pneumonia": 0.8, "xray8": 0.95}, FAIL),
        ({"covid": 0.95, "pneumonia": 0.75, "xray8": 0.75}, UNKNOWN),
    ],
)
def test_xray8_lowest(tmp_path: Path, skills: dict[str, float], level: str):
    claim = ask(xray8_lowest, study(tmp_path, MOBILENET_ONLY, skill=skill_of(**skills), share=0.05))
    assert claim.level == level, claim.text
    assert "Not the whole published dataset" in claim.text


@pytest.mark.parametrize(("covid", "pneumonia", "level"), [(0.97, 0.4, PASS), (0.4, 0.97, FAIL), (0.82, 0.8, UNKNOWN)])
def test_covid_above_pneumonia(tmp_path: Path, covid: float, pneumonia: float, level: str):
    skill = skill_of(covid=covid, pneumonia=pneumonia, xray8=0.4)
    claim = ask(covid_above_pneumonia, study(tmp_path, MOBILENET_ONLY, skill=skill))
    assert claim.level == level, claim.text


def test_the_number_of_classes_is_not_all_where_xray8_stays_lowest_without_guessing(tmp_path: Path):
    low = study(tmp_path / "low", MOBILENET_ONLY, skill=skill_of(covid=0.95, pneumonia=0.9, xray8=0.3), share=0.05)
    assert ask(xray8_by_classes, low).level == FAIL
    assert ask(similar_datasets, low).level == FAIL
    # 7 classes at 0.74 are as far above guessing as 3 classes at 0.8
    alike = study(tmp_path / "alike", MOBILENET_ONLY, skill=skill_of(covid=0.8, pneumonia=0.8, xray8=0.76), share=0.05)
    assert {ask(check, alike).level for check in (xray8_by_classes, similar_datasets)} == {UNKNOWN}


def test_scores_without_guessing() -> None:
    corrected = correct_for_chance(Estimate(0.6, 0.4, 1.0, np.array([0.2]), 40), 0.2)
    assert (corrected.value, corrected.low, corrected.high, *corrected.resampled) == pytest.approx((0.5, 0.25, 1, 0))


@pytest.mark.parametrize(
    ("covid", "viral", "n_seeds", "level"),
    [(1.0, 0.2, 2, PASS), (0.2, 1.0, 2, FAIL), (0.7, 0.7, 2, UNKNOWN), (0.2, 1.0, 1, UNKNOWN)],
)
def test_covid_is_told_more_easily_than_viral_pneumonia(
    tmp_path: Path, covid: float, viral: float, n_seeds: int, level: str
):
    results = study(tmp_path, {**ONE_MODEL, "score": {"bootstrap_resamples": 200}, "seeds": [*range(n_seeds)]})
    for model in results.models:
        _set_recalls(model, covid, viral)
    assert ask(covid_distinct, results).level == level


def _set_recalls(model: ModelResult, covid: float, viral: float) -> None:
    found = model.predictions
    skill = np.array([covid, 0.9, viral])[found.labels]
    luck = np.random.default_rng(0).random(len(found.labels))
    guess = np.where(luck < skill, found.labels, 1)
    model.__dict__["predictions"] = replace(found, probabilities=np.eye(3)[guess])


def test_what_is_decided_makes_the_level_of_the_other_claims_milder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Holm: among all 11 claims, p must be below 0.05 / 11 / 2 = 0.0023; three being decided, below 0.0031."""
    results = study(tmp_path, MOBILENET_ONLY, skill=skill_of(covid=0.98, pneumonia=0.75, xray8=0.2), history=saw(0.0))
    monkeypatch.setattr("cxrflow.checks.claims_training.larger_p", lambda blocks: 0.003)
    found = {row["check"]: row for row in judge_checks(FAMILY, results)}
    decided = [name for name, row in found.items() if row["level"] in (PASS, FAIL)]
    assert decided == ["xray8_lowest", "xray8_by_classes", "similar_datasets", "restarts_show"]
    assert [found[name]["alpha"] for name in decided] == [ALPHA / 11, ALPHA / 11, ALPHA / 11, ALPHA / 8]
    assert {row["alpha"] for name, row in found.items() if name not in decided} == {ALPHA / 7}
    assert found["xray8_lowest"]["text"].endswith("Judged at 0.45 %.")
    assert "Judged at" not in found["transfer_gain"]["text"]  # nothing was: there is no pair


def test_a_claim_that_stops_is_still_one_of_those_judged(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxrflow.checks.claims_training.larger_p", None)
    found = {row["check"]: row for row in judge_checks(FAMILY, results)}
    assert found["restarts_show"]["level"] == ERROR
    undecided = [row for row in found.values() if row["level"] in (UNKNOWN, ERROR)]
    assert {row["alpha"] for row in undecided} == {ALPHA / len(undecided)}


def test_what_no_test_decides_is_not_one_of_the_tests() -> None:
    alone = [name for name in list_verdicts() if name != FAMILY and load_check(name).kind == "claim"]
    assert alone == ["epoch_time", "flip_views"]


def test_datasets_are_known_by_their_reader_not_their_name(tmp_path: Path):
    datasets = {"mine": {"reader": "nih", "folder": "a"}, "other": {"reader": "folders", "folder": "b"}}
    config = {**MOBILENET_ONLY, "datasets": datasets}
    skill = skill_of(mine=0.3, other=0.95)
    assert ask(xray8_lowest, study(tmp_path, config, skill=skill, share=0.05)).level == PASS


def test_without_intervals_it_is_open(tmp_path: Path):
    none = study(tmp_path, {**MOBILENET_ONLY, "score": {"bootstrap_resamples": 0}})
    assert "bootstrap_resamples is 0" in ask(covid_above_pneumonia, none).text


@pytest.mark.parametrize(
    ("seconds", "share", "level", "words"),
    [
        (300, 0.02, FAIL, "300 s per epoch"),
        # 70 % of 15,153 published images at 100 images/s
        (20, 0.02, UNKNOWN, r"Extrapolated, not measured: 10,607 train images.* 1\.8 min"),
        (20, 1.0, PASS, "The hour before is not measured here"),
    ],
)
def test_time_of_an_epoch(tmp_path: Path, seconds: float, share: float, level: str, words: str):
    config = {**ONE_MODEL, "score": {"bootstrap_resamples": 0}}
    history: Callable[[ModelId], list[EpochRow]] = lambda model: epochs([1.0], [1.0], seconds)  # noqa: E731
    claim = ask(epoch_time, study(tmp_path, config, history=history, share=share))
    assert claim.level == level
    assert re.search(words, claim.text)


def ablation(worse: float, seeds: tuple[int, ...] = (0, 1), variant: str = "no_preprocessing") -> dict[str, Any]:
    """A fake study in which models without preprocessing, or another variant, get `worse` fewer images right."""
    return {
        "config": {
            **MOBILENET_ONLY,
            "seeds": list(seeds),
            "ablation": {"variants": ["no_preprocessing", "no_class_weights"]},
        },
        "skill": lambda model: 0.7 - worse * (model.variant == variant),
    }


@pytest.mark.parametrize(("worse", "level"), [(0.15, PASS), (-0.15, FAIL), (0.0, UNKNOWN)])
def test_preprocessing_gained(tmp_path: Path, worse: float, level: str):
    claim = ask(preprocessing_gain, collect_fake(tmp_path, FakeStudy(**ablation(worse))))
    assert claim.level == level, claim.text
    assert "6 pairs" in claim.text  # class weights are another matter


@pytest.mark.parametrize(("worse", "level"), [(0.15, PASS), (-0.15, FAIL), (0.0, UNKNOWN)])
def test_class_weights_gained(tmp_path: Path, worse: float, level: str):
    claim = ask(class_weights_gain, collect_fake(tmp_path, FakeStudy(**ablation(worse, variant="no_class_weights"))))
    assert claim.level == level, claim.text
    assert "6 pairs" in claim.text


def test_class_weights_without_a_variant_say_what_answers(tmp_path: Path):
    claim = ask(class_weights_gain, study(tmp_path / "no", {**ONE_MODEL, "variants": {}}))
    assert claim.level == UNKNOWN
    assert 'add "no_class_weights: {train: {class_weights: none}}" under "variants:"' in claim.remedy
    assert "config/ablation.yaml has" in claim.remedy
    none = ask(class_weights_gain, study(tmp_path / "off", {**ONE_MODEL, "train": {"class_weights": "none"}}))
    assert "no class weights, so there is nothing to switch off" in none.text


@pytest.mark.parametrize(("worse", "words"), [(0.06, "lies inside the interval"), (0.3, "lies outside the interval")])
def test_the_gain_has_the_size_that_the_paper_says_or_not(tmp_path: Path, worse: float, words: str):
    assert words in ask(preprocessing_gain, collect_fake(tmp_path, FakeStudy(**ablation(worse)))).text


def test_one_training_each_tells_nothing_of_the_procedure(tmp_path: Path):
    claim = ask(preprocessing_gain, collect_fake(tmp_path, FakeStudy(**ablation(0.3, seeds=(0,)))))
    assert claim.level == UNKNOWN
    assert "of the procedure, nothing can be told" in claim.text


def test_preprocessing_without_variant_says_which_command_answers(tmp_path: Path, results: Results):
    answer = ask(preprocessing_gain, results).remedy
    assert 'put "no_preprocessing" into "ablation.variants"' in answer
    assert "covid/mobilenet_v3_large/scratch/no_preprocessing/seed0/metrics.json" in answer
    assert "under" not in answer  # the variant is in the config already
    claim = ask(preprocessing_gain, study(tmp_path, {**ONE_MODEL, "variants": {}}))
    assert claim.level == UNKNOWN
    assert 'add "no_preprocessing: {preprocess: {equalize: none, blur_px: 0}}" under "variants:"' in claim.remedy


def test_preprocessing_that_the_study_does_not_use(tmp_path: Path):
    claim = ask(preprocessing_gain, study(tmp_path, {**ONE_MODEL, "preprocess": {"blur_px": 0}}))
    assert claim.level == UNKNOWN
    assert "do not use both" in claim.text


@pytest.mark.parametrize(("gain", "level"), [(0.2, PASS), (-0.2, FAIL), (0.0, UNKNOWN)])
def test_transfer_against_scratch(tmp_path: Path, gain: float, level: str):
    skill: Callable[[ModelId], float] = lambda model: 0.6 + gain * (model.init != "scratch")  # noqa: E731
    config = {"backbones": ["resnet34"], "score": {"bootstrap_resamples": 100}, "seeds": [0, 1]}
    results = study(tmp_path, config, skill=skill)
    assert ask(transfer_gain, results).level == level


def test_transfer_that_may_have_seen_test_images_does_not_count(tmp_path: Path):
    """Only the model for pneumonia is judged: the search for copies cannot trace what the other two have in common."""
    inits = {"covid": "from_xray8", "pneumonia": "from_xray8", "xray8": "from_covid"}
    transfer = {name: {"init": init, "backbone": "resnet34"} for name, init in inits.items()}
    config = {"backbones": ["resnet34"], "transfer": transfer, "score": {"bootstrap_resamples": 100}, "seeds": [0, 1]}
    gain = {"covid": 0.3, "pneumonia": -0.3, "xray8": 0.3}
    results = study(tmp_path, config, skill=lambda model: 0.6 + gain[model.dataset] * (model.init != "scratch"))
    claim = ask(transfer_gain, results)
    assert claim.level == FAIL
    assert "2 pairs: Paediatric pneumonia" in claim.text
    assert "Left out: COVID-19 Radiography and ChestX-ray8" in claim.text


def test_words():
    assert [join_words(["a", "b", "c"][:n]) for n in (1, 2, 3)] == ["a", "a and b", "a, b and c"]
    assert (write_p(0.0004), write_p(0.0123)) == ("less than 0.1 %", "1.2 %")


def test_the_flip_is_ablated_by_view(tmp_path: Path) -> None:
    """Without it the AP films lose, and the PA films do not; the numbers are said, and prove no invariance."""
    config = {
        **ONE_MODEL,
        "seeds": [0, 1, 2],
        "variants": {"no_flip": {"train": {"flip_probability": 0}}},
        "ablation": {"variants": ["no_flip"]},
    }
    results = collect_fake(tmp_path, FakeStudy(config=config, skill=lambda model: 0.9))
    dataset = results.datasets["covid"]
    images = [replace(row, metadata=f"view={('AP', 'PA')[i // 2 % 2]}") for i, row in enumerate(dataset.images)]
    views = {row.image_id: row.facts["view"] for row in images}
    for model in results.select(variant="no_flip"):
        predictions = model.predictions
        lost = [i for i, name in enumerate(predictions.image_ids) if views[name] == "AP" and i % 3 == 0]
        predictions.probabilities[lost] = np.roll(np.eye(3)[predictions.labels[lost]], 1, axis=1)
    assert "an ablation by view" in ask(flip_views, results).text, "no view is known"
    dataset.__dict__["images"] = images
    verdict = ask(flip_views, results)
    found = re.search(r"without it: PA (\S+) .*, AP (\S+) .*PA minus AP: (\S+) .*with the flip, (\S+) ", verdict.text)
    assert found is not None, verdict.text
    pa, ap, gap, gap_without = (float(text.replace("−", "-")) for text in found.groups())
    assert pa == 0
    assert ap > 0.2
    assert abs(gap) < 0.1
    assert gap_without == pytest.approx(gap + ap, abs=0.02)
    assert (verdict.level, verdict.remedy) == ("unknown", "")
