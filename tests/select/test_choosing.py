"""The choice on validation images: who is a candidate, who is non-inferior, who is chosen."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from cxrflow.compare.choice import candidate_rows, choice_rows, describe_chosen
from cxrflow.config.layout import CandidateId, Layout, ModelId
from cxrflow.config.settings import ScoreSettings, SelectSettings
from cxrflow.config.study import list_forms
from cxrflow.errors import CxrflowError
from cxrflow.files.records import Predictions, write_predictions
from cxrflow.results.bootstrap import mean_macro_f1
from cxrflow.results.ensembles import average_predictions, read_candidate
from cxrflow.select.choosing import Candidate, choose_model, find_costs, list_candidates
from tests.compare.fake_study import ONE_MODEL, FakeStudy, collect_fake

SCORE = ScoreSettings(bootstrap_resamples=200)
N = 300


def predict(skill: float, seed: int = 0, n: int = N, first: int = 0) -> Predictions:
    """Predictions of one image per patient in two classes; the same images are hard for every model."""
    labels = np.arange(n) % 2
    right = np.random.default_rng(seed).permutation(n) < round(skill * n)
    predicted = np.where(right, labels, 1 - labels)
    ids = [f"image{first + i}" for i in range(n)]
    return Predictions(ids, ids, labels, np.where(np.eye(2)[predicted] == 1, 0.8, 0.2), ["a", "b"])


def candidate(
    name: str, skill: float, latency_ms: float, seeds: tuple[int, ...] = (0,), n: int = N, params: int = 1000
) -> Candidate:
    return Candidate(name, name.title(), [predict(skill, seed, n) for seed in seeds], latency_ms, params)


def choose(*candidates: Candidate, margin: float = 0.02, score: ScoreSettings = SCORE) -> dict[str, Any]:
    return choose_model(candidates, margin, score)


def test_the_fastest_that_is_not_inferior_is_chosen() -> None:
    choice = choose(candidate("tiny", 0.6, 1), candidate("small", 0.898, 2), candidate("large", 0.9, 9))
    assert (choice["best"], choice["chosen"]) == ("large", "small")
    by_name = {row["model"]: row for row in choice["candidates"]}
    assert [by_name[name]["admissible"] for name in ("tiny", "small", "large")] == [False, True, True]
    assert by_name["small"]["difference"] == pytest.approx(
        by_name["small"]["val_macro_f1"] - by_name["large"]["val_macro_f1"]
    )
    assert -0.02 < by_name["small"]["difference_low"] <= by_name["small"]["difference"] < 0
    assert by_name["large"]["difference"] == 0 > by_name["large"]["difference_low"]
    assert "Small is the fastest model" in choice["reason"]


def test_few_patients_do_not_let_a_worse_model_pass() -> None:
    """The 95 % interval of the difference includes zero, which is no evidence that the model is as good."""
    choice = choose(candidate("small", 0.82, 1, n=21), candidate("large", 0.9, 9, n=21))
    (small,) = [row for row in choice["candidates"] if row["model"] == "small"]
    assert -0.25 < small["difference"] < 0
    assert choice["chosen"] == "large"
    assert "no faster model is shown" in choice["reason"]


def test_of_equal_scores_the_fastest_is_the_best_and_equal_is_not_certainly_equal() -> None:
    choice = choose(candidate("large", 1.0, 9, n=24), candidate("small", 1.0, 1, n=24))
    assert choice["best"] == choice["chosen"] == "small"
    assert choice["candidates"][0]["difference_low"] < -0.02


def test_of_equally_fast_models_the_one_with_the_higher_score_is_chosen() -> None:
    models = [candidate("scratch", 0.895, 12.0), candidate("transfer", 0.9, 12.0), candidate("large", 0.9, 30.0)]
    for order in (models, models[::-1]):
        assert choose(*order, margin=0.1)["chosen"] == "transfer"


def test_of_equally_fast_and_good_models_the_one_with_fewer_parameters_is_chosen() -> None:
    models = [candidate("wide", 0.9, 12.0, params=2000), candidate("slim", 0.9, 12.0)]
    for order in (models, models[::-1]):
        assert choose(*order)["best"] == choose(*order)["chosen"] == "slim"


def test_more_candidates_ask_for_clearer_evidence_and_each_is_held_against_all_others() -> None:
    """That the one that happens to score highest is the reference would flatter: it was itself selected."""
    pair = [candidate("small", 0.9, 1, seeds=(3,)), candidate("large", 0.9, 9)]
    (alone,) = [row for row in choose(*pair, margin=0.055)["candidates"] if row["model"] == "small"]
    crowd = [*pair, *[candidate(f"other{k}", 0.9, 10 + k, seeds=(20 + k,)) for k in range(5)]]
    (among,) = [row for row in choose(*crowd, margin=0.055)["candidates"] if row["model"] == "small"]
    assert (alone["admissible"], among["admissible"]) == (True, False)
    assert among["difference_low"] < alone["difference_low"]


def test_a_worse_model_passes_in_at_most_five_of_a_hundred_studies() -> None:
    """Five candidates exactly the margin below the best: whichever passes, it should not have."""
    rng, wrong = np.random.default_rng(4), 0
    labels = np.arange(120) % 2
    ids = [f"{k}" for k in labels.cumsum() * 1000 + np.arange(120)]

    def draw(skill: float) -> Predictions:
        guess = np.where(rng.random(120) < skill, labels, 1 - labels)
        return Predictions(ids, ids, labels, np.eye(2)[guess], ["a", "b"])

    for _ in range(100):
        models = [Candidate(f"worse{k}", "Worse", [draw(0.7)], 1.0, 1) for k in range(5)]
        found = choose_model([*models, Candidate("best", "Best", [draw(0.9)], 9.0, 1)], 0.2, SCORE)
        wrong += found["chosen"] != "best"
    assert wrong <= 8


def test_a_wider_margin_admits_a_worse_model() -> None:
    models = (candidate("small", 0.85, 1), candidate("large", 0.9, 9))
    assert choose(*models)["chosen"] == "large"
    assert choose(*models, margin=0.2)["chosen"] == "small"


def test_without_intervals_the_best_is_chosen() -> None:
    none = ScoreSettings(bootstrap_resamples=0)
    choice = choose(candidate("small", 0.9, 1), candidate("large", 0.95, 9), score=none)
    assert choice["chosen"] == choice["best"] == "large"
    assert choice["candidates"][0]["difference_low"] is None


def test_seeds_are_averaged_and_one_seed_is_mentioned() -> None:
    several = choose(candidate("one", 0.9, 1, seeds=(0, 1, 2)))
    scores = [choose(candidate("one", 0.9, 1, seeds=(seed,)))["candidates"][0]["val_macro_f1"] for seed in (0, 1, 2)]
    assert several["candidates"][0]["val_macro_f1"] == pytest.approx(np.mean(scores))
    assert "means over 3 seeds" in several["reason"]
    assert "trained once" in choose(candidate("one", 0.9, 1))["reason"]


def test_candidates_of_different_images_are_refused() -> None:
    other = Candidate("other", "Other", [predict(0.9, first=7)], 1, 1000)
    with pytest.raises(CxrflowError, match="evaluated on different images"):
        choose(candidate("one", 0.9, 1), other)


def test_nothing_to_choose_from() -> None:
    assert choose()["chosen"] is None


def test_validation_decides_test_is_reported_and_leaks_are_no_candidates(tmp_path: Path) -> None:
    """ResNet-34 by transfer would win on test and may have seen it; from scratch, validation and test disagree."""
    config = {
        "backbones": ["mobilenet_v3_large", "resnet34"],
        "transfer": {"covid": {"init": "from_xray8", "backbone": "resnet34"}},
        "score": {"bootstrap_resamples": 100},
    }
    fake = FakeStudy(
        config=config,
        skill=lambda model: 0.95 if model.init != "scratch" else 0.9 if model.backbone == "resnet34" else 0.5,
        val_skill=lambda model: 0.5 if model.backbone == "resnet34" else 0.9,
    )
    results = collect_fake(tmp_path, fake)
    choice = results.selection["covid"]
    assert choice["chosen"] == "covid/mobilenet_v3_large/scratch/base/seed0"
    assert [row["model"] for row in choice["candidates"]] == [
        models[0].path for models in list_candidates(results.study, results.layout, results.study.models(), "covid")
    ]
    assert not any("from_xray8" in row["model"] for row in choice["candidates"])
    row = choice_rows(results)[0]
    (chosen,) = results.select(dataset="covid", backbone="mobilenet_v3_large")
    assert row["chosen"] == "MobileNetV3-Large, from scratch"
    assert row["macro_f1"] == pytest.approx(chosen.macro_f1)
    assert row["val_macro_f1"] > 0.8 > row["macro_f1"]


MODELS = [ModelId("covid", "resnet34", seed=seed) for seed in (0, 1, 2)]


@pytest.mark.parametrize(
    ("select", "n_seeds", "ends"),
    [
        (SelectSettings(), 3, ["seed0"]),
        (SelectSettings(ensembles=True), 3, ["seed0", "seed0+1+2"]),
        (SelectSettings(ensembles=True), 1, ["seed0"]),
        (SelectSettings(flip=True), 3, ["seed0", "seed0/flip"]),
        (SelectSettings(ensembles=True, flip=True), 2, ["seed0", "seed0+1", "seed0/flip", "seed0+1/flip"]),
    ],
)
def test_what_can_be_made_of_seeds(select: SelectSettings, n_seeds: int, ends: list[str]) -> None:
    forms = list_forms(MODELS[:n_seeds], select)
    assert [form.path.removeprefix("covid/resnet34/scratch/base/") for form in forms] == ends


def test_costs_are_those_of_all_networks_and_mirror_images() -> None:
    """But for the latency, which is measured."""
    times = {"1": {"median": 10, "low": 9, "high": 12}, "3/flip": {"median": 21, "low": 14, "high": 27}}
    times["1/flip"] = {"median": 13, "low": None, "high": None}
    profile = {"latency_ms": times, "params": 5, "gmac": 0.5, "weights_mib": 7.0, "inference": {"energy_j": 0.25}}
    alone, all_flipped = (
        find_costs(profile, CandidateId(tuple(m), f)) for m, f in ((MODELS[:1], False), (MODELS, True))
    )
    assert [alone[key] for key in ("latency_ms", "params", "gmac", "weights_mib", "energy_j")] == [10, 5, 0.5, 7, 0.25]
    assert all_flipped == {
        "latency_ms": 21, "latency_ms_low": 14, "latency_ms_high": 27, "params": 15, "weights_mib": 21.0, "gmac": 3.0,
        "energy_j": 1.5,
    }  # fmt: skip
    unread = find_costs({**profile, "inference": {"energy_j": None}}, CandidateId((MODELS[0],), flip=True))
    assert unread["energy_j"] is None


def test_an_ensemble_is_judged_by_its_own_answers_and_is_one(tmp_path: Path) -> None:
    """Three weak seeds that err on other images are strong together; the interval is then over patients alone."""
    config = {**ONE_MODEL, "seeds": [0, 1, 2], "select": {"ensembles": True}}
    results = collect_fake(tmp_path, FakeStudy(config=config, skill=lambda model: 0.7))
    choice = results.selection["covid"]
    rows = {row["model"].rsplit("/seed")[1]: row for row in choice["candidates"]}
    assert list(rows) == ["0", "0+1+2"]
    answers = [model.val_predictions for model in results.models]
    whole = average_predictions(answers)
    assert rows["0+1+2"]["val_macro_f1"] == pytest.approx(f1_score(whole.labels, whole.predicted, average="macro"))
    assert rows["0+1+2"]["val_macro_f1"] > rows["0"]["val_macro_f1"] + 0.02
    own = mean_macro_f1([[whole]], 200, 0)
    assert (rows["0+1+2"]["val_low"], rows["0+1+2"]["val_high"]) == (own.low, own.high)
    assert choice["chosen"].endswith("seed0+1+2")
    assert "An ensemble is one" in choice["reason"]
    tested = average_predictions([model.predictions for model in results.models])
    (row,) = choice_rows(results)
    assert row["chosen"] == "ResNet-34, from scratch, ensemble of 3 seeds"
    assert row["macro_f1"] == pytest.approx(f1_score(tested.labels, tested.predicted, average="macro"))
    told = {row["candidate"]: row for row in candidate_rows(results)}
    assert [row["standing"] for row in told.values()] == ["", "chosen"]
    assert {row["energy"] for row in told.values()} == {"not readable"}
    assert describe_chosen(results, "covid")["estimate"].value == row["macro_f1"]


def test_answers_are_means_of_what_was_said_of_both_images(tmp_path: Path) -> None:
    layout, said = Layout(tmp_path), {}
    for number, (model, file) in enumerate(product(MODELS, ("predictions.csv", "mirrored.csv"))):
        said[model, file] = predict(0.5 + number / 20, seed=number, n=20)
        path = layout.model_file(model, file)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_predictions(path, said[model, file])
    for members, flip, several in (
        (MODELS[:1], False, [[(model, "predictions.csv")] for model in MODELS]),
        (MODELS[:1], True, [[(model, "predictions.csv"), (model, "mirrored.csv")] for model in MODELS]),
        (MODELS, False, [[(model, "predictions.csv") for model in MODELS]]),
        (MODELS, True, [[*said]]),
    ):
        found = read_candidate(layout, CandidateId(tuple(members), flip), MODELS, "test")
        for answer, keys in zip(found, several, strict=True):
            wanted = np.mean([said[key].probabilities for key in keys], axis=0)
            np.testing.assert_allclose(answer.probabilities, wanted)
    other = replace(said[MODELS[0], "mirrored.csv"], image_ids=[f"other{k}" for k in range(20)])
    write_predictions(layout.model_file(MODELS[0], "mirrored.csv"), other)
    with pytest.raises(CxrflowError, match="evaluated on different images"):
        read_candidate(layout, CandidateId((MODELS[0],), flip=True), MODELS[:1], "test")
