"""The shortcut gate and the way of selecting images: planted shortcuts are found, nothing is found where none is."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from check import check_study
from cxrflow.checks.cautions_shortcuts import (
    describe_gate,
    estimate_reach,
    judge_reach,
    selection_shortcut,
    shortcut_rows,
    shortcuts,
    summarize_gate,
)
from cxrflow.checks.verdicts import FAIL, PASS, UNKNOWN, WARN
from cxrflow.compare.associations import associate, cramers_v, group_fact
from cxrflow.compare.collect import Results
from cxrflow.config.probes import SHORTCUTS
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import read_json, write_json
from cxrflow.files.records import IndexRow, SplitRow, read_predictions, write_predictions
from cxrflow.files.tables import read_records, write_records
from cxrflow.models.batches import SplitImages, join_split
from cxrflow.results.bootstrap import Estimate, mean_macro_f1
from cxrflow.results.metrics import chance_macro_f1
from cxrflow.results.probes import fit_probe
from tests.compare.fake_study import ONE_MODEL, FakeStudy, all_said, collect_fake

NAMES = ("healthy", "ill")
SIZE, N_TRAIN, N_TEST = 32, 200, 120


def make_images(n: int, subset: str, seed: int, marked: NDArray[np.bool_]) -> SplitImages:
    """Return noise of two classes in turn, with a white mark in the corner of some images."""
    images = np.random.default_rng(seed).integers(60, 120, (n, SIZE, SIZE)).astype(np.uint8)
    images[marked, :3, :3] = 255
    rows = [SplitRow(f"{subset}{k}", NAMES[k % 2], f"{subset}{k}", "", subset) for k in range(n)]
    return join_split(images, rows, subsets=("train", "val") if subset == "train" else ("test",))


def reach_of_mark(dose: float, *, on_class: bool = True) -> Estimate:
    """Return R of the frame against a model that is right in 9 of 10 images, with a mark on this share of images."""
    rng = np.random.default_rng(1)
    parts = []
    for n, subset, seed in ((N_TRAIN, "train", 2), (N_TEST, "test", 3)):
        marked = rng.random(n) < dose
        parts.append(make_images(n, subset, seed, marked & (np.arange(n) % 2 == 1) if on_class else marked))
    index = {i: IndexRow(i, "", "", "", "", SIZE, SIZE, "L", "", "") for part in parts for i in part.image_ids}
    probe = fit_probe("frame", *parts, index)
    guess = np.where(rng.random(N_TEST) < 0.9, probe.labels, 1 - probe.labels)
    model = replace(probe, probabilities=np.eye(2)[guess])
    chance = chance_macro_f1(np.bincount(probe.labels))
    return estimate_reach(*(mean_macro_f1([[each]], 300, 0) for each in (probe, model)), chance)


def test_the_more_of_a_class_has_a_mark_the_more_the_frame_reaches() -> None:
    reached = [reach_of_mark(dose) for dose in (0, 0.25, 0.5, 1)]
    values = [reach.value for reach in reached]
    assert values == sorted(values)
    assert values[-1] > 0.9
    assert judge_reach(reached[-1])[0] == FAIL
    assert judge_reach(reached[0])[0] != FAIL


def test_a_mark_on_a_random_half_of_the_images_reaches_nothing() -> None:
    reach = reach_of_mark(0.5, on_class=False)
    assert reach.low is not None
    assert reach.high is not None
    assert reach.low <= 0 <= reach.high


def test_shuffled_labels_average_chance() -> None:
    train, test = (make_images(n, s, k, np.zeros(n, np.bool_)) for n, s, k in ((100, "train", 2), (100, "test", 3)))
    index = {i: IndexRow(i, "", "", "", "", SIZE, SIZE, "L", "", "") for i in [*train.image_ids, *test.image_ids]}
    rng, scores = np.random.default_rng(0), []
    for _ in range(20):
        shuffled = replace(train, labels=rng.permutation(train.labels))
        scores.append(mean_macro_f1([[fit_probe("frame", shuffled, test, index)]], 0, 0).value)
    assert abs(np.mean(scores) - 0.5) < 2 * np.std(scores, ddof=1) / np.sqrt(20)


@pytest.mark.parametrize(
    ("low", "high", "level"),
    [(-0.1, 0.24, PASS), (-0.1, 0.26, WARN), (0.49, 0.9, WARN), (0.51, 0.9, FAIL), (None, None, UNKNOWN)],
)
def test_the_gate_is_decided_by_the_interval(low: float | None, high: float | None, level: str) -> None:
    assert judge_reach(Estimate(0.2, low, high, np.zeros(0)))[0] == level


def test_a_ratio_of_equal_scores_is_one_with_an_interval() -> None:
    reach = estimate_reach(*[Estimate(0.9, 0.8, 0.95, np.full(50, 0.9))] * 2, chance=0.5)
    assert reach.value == 1
    assert reach.low is not None
    assert reach.high is not None
    assert reach.low < 1 < reach.high


def test_a_model_at_chance_is_no_yardstick() -> None:
    probe, model = (Estimate(value, value - 0.1, value + 0.1, np.full(50, value)) for value in (0.6, 0.5))
    assert judge_reach(estimate_reach(probe, model, chance=0.5))[0] == UNKNOWN


@pytest.fixture
def fake(tmp_path: Path) -> Results:
    return collect_fake(tmp_path, FakeStudy(config=ONE_MODEL, skill=lambda _: 0.9, probe_skill=0.88))


def test_what_works_without_lungs_is_a_serious_concern_named_with_its_reach(fake: Results) -> None:
    verdict = shortcuts.run(fake)
    assert verdict.level == FAIL
    assert verdict.value is not None
    assert verdict.value > 0.5
    assert "Serious concern: outer frame" in all_said(verdict)
    assert [row["level"] for row in shortcut_rows(fake)] == [FAIL] * len(SHORTCUTS)


def test_what_was_not_run_is_never_a_pass(tmp_path: Path) -> None:
    fake = collect_fake(tmp_path, FakeStudy(config=ONE_MODEL, skill=lambda _: 0.95, probe_skill=0.3))
    assert shortcuts.run(fake).level == PASS
    path = fake.layout.probe("covid", "probes.json")
    write_json(path, {**read_json(path), "silhouette": {"absent": "the dataset has no lung masks"}})
    del fake.__dict__["probes"]
    verdict = shortcuts.run(fake)
    assert verdict.level == UNKNOWN
    assert "lung silhouette (not run: the dataset has no lung masks)" in all_said(verdict)
    row = next(row for row in shortcut_rows(fake) if row["probe"] == "Lung silhouette")
    assert row["reach"] is None
    assert describe_gate(shortcut_rows(fake), row["dataset"]) in all_said(verdict)
    summary = summarize_gate(shortcut_rows(fake), row["dataset"])
    assert summary.startswith("cannot be determined")
    assert summary.endswith(f"Of {len(SHORTCUTS)} probes, 1 cannot be determined.")


def test_a_probe_without_some_images_is_held_against_the_model_on_the_same_ones(fake: Results) -> None:
    whole = next(row for row in shortcut_rows(fake) if row["probe"] == "Lungs blacked out")
    path = fake.layout.probe("covid", "lungless.csv")
    predictions = read_predictions(path)
    kept = predictions.labels != 0  # of one class none
    write_predictions(
        path,
        replace(
            predictions,
            image_ids=[i for i, k in zip(predictions.image_ids, kept, strict=True) if k],
            patient_ids=[i for i, k in zip(predictions.patient_ids, kept, strict=True) if k],
            labels=predictions.labels[kept],
            probabilities=predictions.probabilities[kept],
        ),
    )
    scores = read_json(fake.layout.probe("covid", "probes.json"))
    scores["lungless"]["lungs"] = "box by a U-Net"
    write_json(fake.layout.probe("covid", "probes.json"), scores)
    del fake.__dict__["probes"]
    row = next(row for row in shortcut_rows(fake) if row["probe"] == "Lungs blacked out")
    assert row["model_macro_f1"] != whole["model_macro_f1"]
    assert "box by a U-Net" in row["lungs"]
    assert "box by a U-Net" in all_said(shortcuts.run(fake))


@pytest.mark.parametrize("strict", [False, True])
def test_a_serious_concern_stops_a_strict_study_alone(fake: Results, tmp_path: Path, strict: bool) -> None:
    config, models = replace(fake.study.settings, strict=strict), [model.id.path for model in fake.models]
    stops = pytest.raises(CxrflowError, match="With strict: false the study goes on") if strict else nullcontext()
    with stops:
        check_study(
            check="shortcuts", results=fake.root, config=config, models=models, verdict=tmp_path / "verdict.json"
        )
    assert [row["level"] for row in read_json(tmp_path / "verdict.json")] == [FAIL]


def test_without_a_chosen_model_nothing_is_held_against_it(fake: Results) -> None:
    fake.selection["covid"]["chosen"] = None
    assert shortcuts.run(fake).level == UNKNOWN
    assert {row["reason"] for row in shortcut_rows(fake)} == {"no model was chosen"}


def test_facts_that_go_with_the_class_are_told(fake: Results) -> None:
    path = fake.root / "data/covid/index.csv"
    rows = read_records(path, IndexRow)
    healthy = rows[0].label
    told = [
        replace(row, metadata=f"view={'PA' if row.label == healthy else 'AP'} sex={'FM'[k % 2]} follow_up=0")
        for k, row in enumerate(rows)
    ]
    told[-1] = replace(told[-1], metadata=told[-1].metadata + " ignored=Edema")
    write_records(path, IndexRow, told)
    verdict = selection_shortcut.run(fake)
    assert verdict.level == WARN
    assert "view 1.00 (" in all_said(verdict)
    assert "follow-up number" not in all_said(verdict)  # the same for all
    assert "have another, which the rule ignores" in all_said(verdict)


def test_without_metadata_nothing_is_told(fake: Results) -> None:
    verdict = selection_shortcut.run(fake)
    assert verdict.level == UNKNOWN
    assert "nothing is known" in all_said(verdict)


def test_cramers_v_is_scipys_without_the_bias() -> None:
    from scipy.stats.contingency import association

    counts = np.array([[30, 10, 5], [8, 22, 9]])
    n, (rows, columns) = counts.sum(), counts.shape
    phi2 = association(counts, method="cramer") ** 2 * (min(rows, columns) - 1)
    unbiased = phi2 - (rows - 1) * (columns - 1) / (n - 1)
    least = min(side - (side - 1) ** 2 / (n - 1) for side in (rows, columns)) - 1
    assert cramers_v(counts.astype(float)) == pytest.approx(np.sqrt(unbiased / least))
    assert cramers_v(np.outer([10.0, 20.0], [5.0, 5.0])) == 0
    assert np.isnan(cramers_v(np.array([[3.0, 4.0]])))


def test_images_of_few_patients_widen_the_interval_of_an_association() -> None:
    rng = np.random.default_rng(0)
    of_patient = rng.integers(0, 2, (40, 2))
    labels, groups = (np.repeat(of_patient[:, k], 10).astype(str).tolist() for k in (0, 1))
    patients = np.repeat(np.arange(40), 10).astype(str).tolist()
    one, other = (associate(labels, groups, ids, 300, 0) for ids in (patients, [str(k) for k in range(400)]))
    assert one.value == other.value
    assert (one.high or 0) - (one.low or 0) > 1.5 * ((other.high or 0) - (other.low or 0))


@pytest.mark.parametrize(("groups", "value"), [("PA", 1), ("PP", 0)])
def test_where_resamples_are_equal_the_interval_is_not_a_point(groups: str, value: float) -> None:
    labels, ids = ["a", "b"] * 30, [str(k) for k in range(60)]
    found = associate(labels, list(groups * 30) if value else ["P", "P", "A", "A"] * 15, ids, 100, 0)
    assert found.value == pytest.approx(value, abs=1e-9)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.high
    assert associate(labels[:8], list("PA" * 4), ids[:8], 100, 0).low is None


def test_ages_and_visits_are_grouped_and_a_mistyped_age_is_none() -> None:
    assert [group_fact("age_years", age) for age in ("17", "18", "59", "414", "")] == ["0", "1", "2", "", ""]
    assert [group_fact("follow_up", visit) for visit in ("0", "1", "12")] == ["0", "1", "4"]
    assert group_fact("view", "PA") == "PA"
