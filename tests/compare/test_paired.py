import dataclasses
from pathlib import Path

import numpy as np
import pytest

from cxrflow.compare.collect import ModelResult, Results
from cxrflow.compare.paired import (
    ablation_pairs,
    compare_pairs,
    transfer_pairs,
)
from cxrflow.compare.scores import score_models
from cxrflow.errors import CxrflowError
from cxrflow.files.records import Predictions
from cxrflow.results.bootstrap import mean_macro_f1, subtract_estimates
from tests.compare.fake_study import ONE_MODEL, FakeStudy, collect_fake


def transfer_and_scratch(results: Results) -> list[ModelResult]:
    return [results.select(dataset="xray8", backbone="resnet34", init=init)[0] for init in ("imagenet", "scratch")]


def test_one_model_has_the_interval_of_its_metrics(results: Results):
    model = results.models[0]
    estimate = score_models(results, [model])
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx(tuple(model.metrics["macro_f1"].values())[:3])
    assert estimate.n_patients == model.metrics["macro_f1"]["n_patients"]


def test_a_model_does_not_differ_from_itself_and_other_patients_might_say_otherwise(results: Results):
    model = results.models[0]
    difference, own = compare_pairs(results, [(model, model)]), score_models(results, [model])
    assert difference.value == 0
    assert -(own.high - own.low) / 2 < difference.low < 0 < difference.high < (own.high - own.low) / 2


def test_difference_has_the_sign_of_first_minus_second(results: Results):
    transferred, scratch = transfer_and_scratch(results)
    forward, back = (compare_pairs(results, [pair]) for pair in ((transferred, scratch), (scratch, transferred)))
    assert forward.value == pytest.approx(transferred.macro_f1 - scratch.macro_f1)
    assert back.value == -forward.value
    assert back.low == pytest.approx(-forward.high)


def test_pairing_is_narrower_than_two_intervals(results: Results):
    """Both models are right on the same easy patients, so their difference is known better than either score."""
    transferred, scratch = transfer_and_scratch(results)
    difference = compare_pairs(results, [(transferred, scratch)])
    spread = [m.metrics["macro_f1"]["high"] - m.metrics["macro_f1"]["low"] for m in (transferred, scratch)]
    assert difference.high - difference.low < 0.8 * min(spread)


def test_different_test_images_cannot_be_paired(results: Results):
    one, other = results.select(dataset="covid")[:2]
    shuffled = dataclasses.replace(other, folder=Path("other"))
    predictions = other.predictions
    shuffled.__dict__["predictions"] = dataclasses.replace(predictions, image_ids=predictions.image_ids[::-1])
    with pytest.raises(CxrflowError, match="evaluated on different images"):
        compare_pairs(results, [(one, shuffled)])


def test_no_resamples_give_no_interval(tmp_path: Path):
    results = collect_fake(tmp_path, FakeStudy(config={**ONE_MODEL, "score": {"bootstrap_resamples": 0}}))
    estimate = score_models(results, results.models[:1])
    assert estimate.value == pytest.approx(results.models[0].macro_f1)
    assert (estimate.low, estimate.high) == (None, None)


def test_the_two_of_a_pair_differ_in_one_part_only(results: Results, ablated: Results):
    transfers = {first.id.path: second.id.path for first, second in transfer_pairs(results)}
    assert transfers["covid/resnet34/imagenet/base/seed0"] == "covid/resnet34/scratch/base/seed0"
    variants = {first.id.path: second.id.path for first, second in ablation_pairs(ablated)}
    assert variants["covid/resnet34/scratch/no_preprocessing/seed1"] == "covid/resnet34/scratch/base/seed1"


def test_seeds_that_differ_widen_the_interval(tmp_path: Path):
    """The mean of two trainings far apart is not as sure as one of them."""
    config = {**ONE_MODEL, "seeds": [0, 1]}
    results = collect_fake(tmp_path, FakeStudy(config=config, skill=lambda model: 0.9 - 0.3 * model.seed))
    one, both = score_models(results, results.models[:1]), score_models(results, results.models)
    assert both.resampled.std() > 0.12 > 2 * one.resampled.std()


def test_the_mean_over_backbones_is_of_these_backbones(results: Results):
    """Backbones are no sample of backbones: that they differ does not widen the interval of their mean."""
    models = results.select(dataset="xray8", init="scratch")
    mean, one = score_models(results, models), score_models(results, models[:1])
    assert len({model.id.backbone for model in models}) == 3
    assert mean.resampled.std() < 1.1 * one.resampled.std()


@pytest.mark.slow
def test_the_interval_over_two_levels_covers_the_difference_of_procedures():
    """Two equal procedures whose trainings differ by 0.03: three seeds each, 60 patients a class, 300 studies."""
    rng, names, covered = np.random.default_rng(1), ["a", "b", "c"], []
    for _ in range(300):
        labels = np.repeat(np.arange(3), 60)
        hard = rng.random(len(labels))
        sides = []
        for _ in range(2):
            models = []
            for _ in range(3):
                luck = np.where(rng.random(len(labels)) < 0.5, hard, rng.random(len(labels)))
                guess = np.where(luck < rng.normal(0.8, 0.03), labels, (labels + rng.integers(1, 3, len(labels))) % 3)
                ids = [str(k) for k in range(len(labels))]
                models.append(Predictions(ids, ids, labels, np.eye(3)[guess], names))
            sides.append(mean_macro_f1([models], 200, int(rng.integers(2**31))))
        difference = subtract_estimates(*sides)
        covered.append(difference.low <= 0 <= difference.high)
    assert 0.9 < np.mean(covered) <= 0.99
