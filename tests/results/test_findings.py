"""Several findings per image: metrics against scikit-learn, the way from a training to scores, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

import evaluate_findings
import train
from cxrflow.config.backbones import BACKBONES
from cxrflow.config.settings import EvaluateSettings, PreprocessSettings, TrainSettings
from cxrflow.errors import CxrflowError
from cxrflow.files.openings import OPENINGS, read_openings
from cxrflow.files.records import NO_FINDINGS, SplitRow
from cxrflow.models.batches import join_split, take_share
from cxrflow.models.checkpoints import load_model
from cxrflow.results.findings import FindingPredictions, read_findings, score_findings, write_findings
from cxrflow.results.metrics import average_precision
from tests.models.toy import TINY, toy_images, toy_labels, toy_rows, training_files, write_packed
from tests.results.conftest import evaluate_into

NAMES = ["Mass", "Nodule", "Pneumothorax"]
UNWEIGHTED = TrainSettings(epochs=6, batch_size=8, learning_rate=0.01, class_weights="none")


def make_predictions(n: int = 240, decimals: int = 8) -> FindingPredictions:
    """Draw findings of different shares, half-informative scores and patients of two images each."""
    generator = np.random.default_rng(0)
    present = generator.random((n, 3)) < [0.4, 0.2, 0.1]
    scores = 1 / (1 + np.exp(-generator.normal(size=(n, 3)) - 1.2 * present))
    ids = [f"image{i}" for i in range(n)]
    return FindingPredictions(ids, [f"patient{i // 2}" for i in range(n)], present, scores.round(decimals), NAMES)


@pytest.mark.parametrize("decimals", [8, 1])  # with 1, many scores are equal
def test_scores_equal_scikit_learn(decimals: int) -> None:
    predictions = make_predictions(decimals=decimals)
    scores = score_findings(predictions, 0, 0)
    for k, name in enumerate(NAMES):
        present, probabilities = predictions.present[:, k], predictions.probabilities[:, k]
        found = scores["per_class"][name]
        assert found["auroc"]["value"] == pytest.approx(roc_auc_score(present, probabilities), rel=1e-12)
        assert found["average_precision"]["value"] == pytest.approx(
            average_precision_score(present, probabilities), rel=1e-12
        )
        assert found["share"] == present.mean()
    aurocs = [scores["per_class"][name]["auroc"]["value"] for name in NAMES]
    assert scores["mean_auroc"]["value"] == pytest.approx(np.mean(aurocs))


def test_average_precision_counts_weights_as_scikit_learn_does() -> None:
    predictions = make_predictions(decimals=1)
    present, scores = predictions.present[:, 1], predictions.probabilities[:, 1]
    weights = np.random.default_rng(1).integers(0, 4, size=(len(scores), 3)).astype(float)
    weights[:, 2] = ~present
    found = average_precision(scores, present, weights)
    for draw in range(2):
        expected = average_precision_score(present, scores, sample_weight=weights[:, draw])
        assert found[draw] == pytest.approx(expected, rel=1e-12)
    assert np.isnan(found[2])  # no positive image


def test_intervals_hold_the_score_and_a_finding_that_nobody_has_is_undefined_and_out_of_the_mean() -> None:
    predictions = make_predictions()
    predictions.present[:, 2] = False
    scores = score_findings(predictions, 200, 0)
    rare = scores["per_class"]["Pneumothorax"]
    assert rare["auroc"]["value"] is None
    assert rare["average_precision"]["value"] is None
    for score in (scores["mean_auroc"], scores["per_class"]["Mass"]["auroc"], scores["mean_average_precision"]):
        assert 0 < score["low"] < score["value"] < score["high"] < 1
    assert scores["mean_auroc"]["value"] == pytest.approx(
        np.mean([scores["per_class"][name]["auroc"]["value"] for name in NAMES[:2]])
    )


def test_predictions_are_read_back_and_a_changed_table_is_refused(tmp_path: Path) -> None:
    path, predictions = tmp_path / "predictions.csv", make_predictions(12)
    write_findings(path, predictions)
    found = read_findings(path)
    assert found.image_ids == predictions.image_ids
    assert (found.present == predictions.present).all()
    assert (found.probabilities == predictions.probabilities).all()
    text = path.read_text()
    for changed in (
        text.replace("p(Mass)", "p(Hernia)"),
        text + text.splitlines()[1] + "\n",
        text + "a,b,none,2,0,0\n",
    ):
        path.write_text(changed)
        with pytest.raises(CxrflowError, match="not a table of findings"):
            read_findings(path)


def rows_of_findings() -> tuple[np.ndarray, list[SplitRow]]:
    """Return toy images, bright above or below; the bright half is a finding, one image of five has none."""
    labels = toy_labels(60)
    images, rows = toy_images(labels, 16), toy_rows(labels, 36, 12)
    images[::5] = np.random.default_rng(1).integers(0, 100, images[::5].shape)
    findings = [NO_FINDINGS if i % 5 == 0 else ("Below", "Above")[label] for i, label in enumerate(labels)]
    return images, [replace(row, findings=found) for row, found in zip(rows, findings, strict=True)]


def train_toy(folder: Path, settings: TrainSettings) -> dict[str, Path]:
    images, rows = rows_of_findings()
    write_packed(folder, images, rows)
    given = training_files(folder, folder / "model")
    train.train_model(
        **given, model_id="toy/tiny/scratch/base/seed0", preprocess=PreprocessSettings(size_px=16),
        settings=settings, device="cpu", threads=1,
    )  # fmt: skip
    return given


def evaluate_toy(folder: Path, given: dict[str, Path], **other: Any) -> Path:
    opened = {"test_images": folder / "test/images.npy", "test": folder / "test.csv", "model": given["model"]}
    path, settings = folder / "predictions.csv", EvaluateSettings(batch_size=8)
    evaluate_findings.evaluate_findings(**opened, settings=settings, device="cpu", threads=1, predictions=path, **other)
    return path


def test_a_model_learns_which_findings_an_image_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKBONES, "tiny", TINY)
    given = train_toy(tmp_path, UNWEIGHTED)
    found = read_findings(evaluate_toy(tmp_path, given))
    assert found.names == load_model(given["model"]).class_names == ["Above", "Below"]
    assert found.present.sum(axis=1).tolist() == [int(i % 5 > 0) for i in range(48, 60)]
    scores = score_findings(found, 0, 0)
    assert scores["mean_auroc"]["value"] > 0.9
    assert [opening.opener for opening in read_openings(tmp_path / OPENINGS)] == ["toy/tiny/scratch/base/seed0"]
    with pytest.raises(CxrflowError, match="tells several findings per image, which this command is not for"):
        evaluate_into(tmp_path, images=given["images"], split=given["split"], model=given["model"],
            test_images=tmp_path / "test/images.npy", test=tmp_path / "test.csv",
            index=tmp_path, regions=tmp_path, folder=tmp_path)  # fmt: skip


def test_a_training_refuses_what_is_of_one_class_per_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKBONES, "tiny", TINY)
    with pytest.raises(CxrflowError, match="several findings here: class_weights must be none"):
        train_toy(tmp_path, TrainSettings(epochs=1))


def test_a_share_of_the_train_images_has_patients_with_and_without_findings() -> None:
    images, rows = rows_of_findings()
    data = take_share(join_split(images[:48], rows[:48]), 0.5)
    assert 15 <= len(data.rows["train"]) <= 21
    assert {len(data.names_of(row)) for row in data.rows["train"].tolist()} == {0, 1}
    assert min(data.counts("train").values()) > 2
