import dataclasses
from pathlib import Path
from typing import Any

import pytest

from cxrflow.checks.cautions_images import enough_patients, known_weaknesses, patients, patients_known, whole_datasets
from cxrflow.checks.cautions_training import (
    batch_norm,
    intervals,
    quick_look,
    reused_test,
    transfer_leak,
    transfer_rates,
    whole_study,
)
from cxrflow.checks.verdicts import PASS, UNKNOWN, WARN
from cxrflow.compare.collect import Results, collect_results
from cxrflow.compare.rows import describe_study
from cxrflow.files.openings import OPENINGS, read_openings, record_opening
from tests.compare.fake_study import ONE_MODEL, FakeStudy, all_said, collect_fake, write_fake_study


def study(folder: Path, share: float = 0.02, **config: Any) -> Results:
    return collect_fake(folder, FakeStudy(config={**ONE_MODEL, **config}, share=share))


def test_synthetic_images_say_nothing_of_patients_or_published_datasets(tmp_path: Path, results: Results):
    synthetic = study(tmp_path, phantoms={})
    assert "synthetic" in patients.run(synthetic).text
    assert "not medical devices" in patients.run(results).text
    assert whole_datasets.run(synthetic).level == known_weaknesses.run(synthetic).level == PASS


def test_samples_say_how_many_of_how_many_and_name_the_cap(tmp_path: Path):
    verdict = whole_datasets.run(study(tmp_path, index={"max_images_per_class": 300}))
    assert verdict.level == WARN
    assert "524 of 15,153 images" in verdict.text
    assert "at most 300 per class" in verdict.text
    assert verdict.value == pytest.approx(524 / 15_153)


def test_whole_datasets_are_not_called_samples(tmp_path: Path):
    assert whole_datasets.run(study(tmp_path, share=1.0, score={"bootstrap_resamples": 0})).level == PASS


def test_more_of_one_class_do_not_make_up_for_fewer_of_another(tmp_path: Path):
    results = study(tmp_path, share=1.0, score={"bootstrap_resamples": 0})
    counts = results.datasets["covid"].index["counts"]
    counts["COVID"], counts["Normal"] = counts["COVID"] - 100, counts["Normal"] + 100
    assert "15,053 of 15,153 images" in whole_datasets.run(results).text


def test_known_weaknesses_are_named_per_dataset(results: Results):
    text = all_said(known_weaknesses.run(results))
    assert "COVID-19 Radiography: sources differ by class." in text
    assert "COVID-19 Radiography was put together" in text
    assert "Paediatric pneumonia: children only." in text
    assert "ChestX-ray8: labels are mined." in text


def test_datasets_without_patients_are_named(tmp_path: Path, results: Results):
    nameless = study(tmp_path)
    index = nameless.datasets["covid"].index
    assert patients_known.run(results).level == PASS
    index["n_patients"] = nameless.datasets["covid"].n_images
    assert patients_known.run(nameless).level == WARN
    synthetic = study(tmp_path / "phantoms", phantoms={})
    synthetic.datasets["covid"].index["n_patients"] = synthetic.datasets["covid"].n_images
    verdict = patients_known.run(synthetic)
    assert (verdict.level, "drew every image as a patient of its own" in verdict.text) == (PASS, True)


def test_few_test_patients_are_reported(tmp_path: Path):
    """The least class decides, however many patients the others have; what has no interval is named."""
    fake = FakeStudy(config={**ONE_MODEL, "score": {"bootstrap_resamples": 50}}, share=0.05, least=20)
    verdict = enough_patients.run(collect_fake(tmp_path / "few", fake))
    assert (verdict.level, verdict.value, verdict.threshold) == (WARN, 5, 30)
    assert "COVID-19 Radiography is tested on 5 of Viral Pneumonia and 13 of COVID" in all_said(verdict)
    assert enough_patients.run(study(tmp_path / "many", share=0.4)).level == PASS


def test_what_is_missing_is_said_with_its_reason(tmp_path: Path, results: Results):
    assert whole_study.run(results).level == PASS
    whole, paths = write_fake_study(tmp_path, FakeStudy(config={"score": {"bootstrap_resamples": 0}}))
    part = collect_results(tmp_path, whole, [path for path in paths if not path.startswith("xray8/")][1:])
    for file in (part.layout.index("xray8"), part.layout.split("xray8")):
        file.unlink()
    part.layout.split("xray8").with_suffix(".log").write_text("error: class 'Mass' is too small to split.\n")
    verdict = whole_study.run(part)
    assert (verdict.level, verdict.value) == (WARN, 5)
    assert "No: 5 of its 12 models are missing." in verdict.text
    assert "4 models on ChestX-ray8: class 'Mass' is too small to split." in verdict.text
    assert "5 models of the study missing" in describe_study(part)
    assert "missing" not in describe_study(results)


def test_training_on_a_cpu_alone_is_a_quick_look(tmp_path: Path):
    results = study(tmp_path)
    assert "30 epochs at 256x256 px" in quick_look.run(results).text
    results.models[0].training["device"] = "cuda"
    assert quick_look.run(results).level == PASS


def from_dataset(target: str, source: str) -> dict[str, Any]:
    return {"backbones": ["resnet34"], "transfer": {target: {"init": f"from_{source}", "backbone": "resnet34"}}}


@pytest.mark.parametrize(
    ("target", "source", "level"),
    [
        ("covid", "pneumonia", PASS),  # the search for copies sees them
        ("pneumonia", "covid", PASS),
        ("xray8", "pneumonia", PASS),
        ("covid", "xray8", WARN),  # normal images by way of the RSNA
        ("xray8", "covid", WARN),
        ("pneumonia", "xray8", PASS),
    ],
)
def test_transfer_between_datasets_with_common_images_is_warned_of(
    tmp_path: Path, target: str, source: str, level: str
):
    results = collect_fake(tmp_path, FakeStudy(config=from_dataset(target, source)))
    assert transfer_leak.run(results).level == level


def test_intervals_say_whether_seeds_are_in_them(tmp_path: Path, results: Results, ablated: Results):
    assert "trained once" in intervals.run(results).text
    assert "table of seeds" in intervals.run(ablated).text
    assert "There are none" in intervals.run(study(tmp_path, score={"bootstrap_resamples": 0})).text


def test_momentum_is_named_where_it_is_not_torchvisions_and_counts(tmp_path: Path, results: Results):
    assert "momentum decides nothing" in batch_norm.run(results).text
    lagging = dataclasses.replace(
        study(tmp_path, train={"precise_batch_norm_images": 0}), backbones=["mobilenet_v3_large", "resnet34"]
    )
    assert "MobileNetV3-Large (0.01)" in batch_norm.run(lagging).text
    without = dataclasses.replace(lagging, backbones=["resnet34", "convnext_tiny"])  # ConvNeXt has no BatchNorm
    assert batch_norm.run(without).level == PASS


def test_a_model_that_was_changed_and_tested_again_is_flagged(tmp_path: Path, results: Results):
    verdict = reused_test.run(results)
    assert (verdict.level, verdict.value) == (PASS, 0)
    assert "by 4 models for COVID-19 Radiography, 4 times in all, 4 models for Paediatric" in verdict.text
    again = study(tmp_path, seeds=[0, 1])
    first, test = again.models[0].id, again.layout.test("covid")
    weights = [opening.opener_sha256 for opening in read_openings(test.parent / OPENINGS)]
    record_opening(test, first.path, weights[0])
    for digit in "01":  # the code of probes changes, and nobody chooses among them
        record_opening(test, "probe", digit * 64)
    verdict = reused_test.run(reread(again))
    assert (verdict.level, verdict.value) == (PASS, 0), "evaluated again as it was"
    assert "by 2 models and probe for COVID-19 Radiography, 5 times in all." in verdict.text
    for n, times in ((1, "1 time"), (2, "2 times")):
        record_opening(test, first.path, f"{n}" * 64)
        verdict = reused_test.run(reread(again))
        assert (verdict.level, verdict.value) == (WARN, n)
        assert f"{again.study.model_title(first)} (test reused {times})" in verdict.text
    test.write_bytes(test.read_bytes() + b"\n")
    record_opening(test, "covid/resnet34/scratch/gone/seed0", "3" * 64)
    text = reused_test.run(reread(again)).text
    assert "3 models (1 not in this study any more) and probe for COVID-19 Radiography, 8 times in all" in text
    assert "and over 2 splits" in text


def test_models_without_a_record_of_their_test_are_not_passed(tmp_path: Path):
    results = study(tmp_path)
    for path in (results.layout.dataset("covid") / OPENINGS).iterdir():
        path.unlink()
    verdict = reused_test.run(reread(results))
    assert (verdict.level, verdict.value) == (UNKNOWN, 1)


def reread(results: Results) -> Results:
    return collect_results(results.root, results.study, [model.id.path for model in results.models])


@pytest.mark.parametrize(
    ("scale", "level", "words"),
    [
        (1.0, WARN, "All layers learn at up to 0.001"),
        (0.1, PASS, "other layers at up to 0.0001"),
        (0.0, PASS, "frozen"),
    ],
)
def test_what_a_transferred_model_learns_is_said(results: Results, scale: float, level: str, words: str):
    train = dataclasses.replace(results.study.settings.train, transfer_learning_rate_scale=scale)
    settings = dataclasses.replace(results.study.settings, train=train)
    verdict = transfer_rates.run(
        dataclasses.replace(results, study=dataclasses.replace(results.study, settings=settings))
    )
    assert (verdict.level, words in verdict.text) == (level, True)
