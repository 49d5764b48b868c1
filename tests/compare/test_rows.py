from pathlib import Path

import numpy as np
import pytest

from cxrflow.compare.ablation import ablation_rows, describe_variant
from cxrflow.compare.collect import Results
from cxrflow.compare.paired import seed_rows, share_columns, spread_columns, transfer_rows
from cxrflow.compare.rows import (
    backbone_rows,
    class_rows,
    dataset_rows,
    model_rows,
    note_rows,
    per_class_rows,
    reject_rows,
)
from cxrflow.results.bootstrap import Estimate
from cxrflow.results.metrics import METRICS, Metric
from tests.compare.fake_study import ONE_MODEL, FakeStudy, collect_fake


def test_every_model_has_one_row(results: Results, ablated: Results):
    for each in (results, ablated):
        rows = model_rows(each)
        assert [row["model"] for row in rows] == [model.id.path for model in each.models]
        assert len({row["model"] for row in rows}) == len(each.models)


def test_rows_speak_of_titles_not_keys(results: Results):
    row = model_rows(results)[3]
    assert (row["dataset"], row["backbone"], row["init"]) == ("COVID-19 Radiography", "ResNet-34", "from ImageNet")


def test_counts_add_up(results: Results):
    for row in dataset_rows(results):
        assert row["n_train"] + row["n_val"] + row["n_test"] == row["n_images"]
        assert row["n_selection"] == 43
        assert row["n_unreadable"] == 2
        assert row["n_cap"] == 0
        assert row["split"] == "by seed"
    by_class = class_rows(results)
    assert sum(row["n_images"] for row in by_class) == sum(row["n_images"] for row in dataset_rows(results))
    assert sum(row["share"] for row in by_class) == pytest.approx(3)


def test_reasons_are_listed_with_their_counts(results: Results):
    rows = [row for row in reject_rows(results) if row["dataset"] == "ChestX-ray8"]
    assert {row["reason"]: row["n_images"] for row in rows} == {
        "two findings": 31,
        "not the first image": 12,
        "truncated file": 2,
    }


def test_notes_of_the_index_are_listed(results: Results):
    rows = [row["note"] for row in note_rows(results) if row["dataset"] == "ChestX-ray8"]
    assert rows == results.datasets["xray8"].index["notes"] != []


def test_reports_gflops_are_compared_only_at_their_image_size(results: Results, tmp_path: Path):
    assert backbone_rows(results)[0]["gmac_batch"] == pytest.approx(32 * 0.283)
    small = collect_fake(tmp_path, FakeStudy(config={**ONE_MODEL, "preprocess": {"size_px": 96}}))
    assert backbone_rows(small)[0]["gmac_batch"] is None


def test_cost_is_left_out_where_the_variant_has_another_size(tmp_path: Path):
    config = {**ONE_MODEL, "variants": {"small": {"preprocess": {"size_px": 64}}}, "ablation": {"variants": ["small"]}}
    rows = {row["variant"]: row for row in model_rows(collect_fake(tmp_path, FakeStudy(config=config)))}
    assert rows["base"]["gmac"] > 0
    assert rows["small"]["gmac"] is None
    assert rows["small"]["latency_ms"] is None
    assert rows["small"]["params_m"] > 0


def test_transfer_is_compared_with_its_twin(results: Results):
    rows = transfer_rows(results)
    assert len(rows) == 3
    for row in rows:
        assert row["difference"] == pytest.approx(row["macro_f1"] - row["macro_f1_scratch"])
        assert row["difference_low"] <= row["difference"] <= row["difference_high"]


LEAKY = {
    "backbones": ["resnet34"],
    "transfer": {"covid": {"init": "from_xray8", "backbone": "resnet34"}},
    "score": {"bootstrap_resamples": 50},
}


def test_models_that_may_have_seen_test_images_are_marked(tmp_path: Path, results: Results):
    leaky = collect_fake(tmp_path, FakeStudy(config=LEAKY, skill=lambda model: 0.5 + 0.4 * (model.init != "scratch")))
    assert [row["caution"] for row in transfer_rows(leaky)] == ["may have seen test images"]
    marked = [row["model"] for row in model_rows(leaky) if row["caution"]]
    assert marked == ["covid/resnet34/from_xray8/base/seed0"]
    assert not any(row["caution"] for row in model_rows(results))


def test_ablation_says_what_differs_and_averages_seeds(ablated: Results):
    rows = ablation_rows(ablated)
    assert len(rows) == 4
    assert {row["n_seeds"] for row in rows} == {2}
    by_variant = {row["variant"]: row["change"] for row in rows}
    assert by_variant["no_preprocessing"] == "equalize: histogram → none, blur_px: 5 → 0"
    assert by_variant["no_class_weights"] == "class_weights: inverse → none"
    pair = [ablated.select(backbone="resnet34", variant="no_preprocessing", seed=s)[0].macro_f1 for s in (0, 1)]
    row = next(r for r in rows if r["variant"] == "no_preprocessing" and r["backbone"] == "ResNet-34")
    assert row["macro_f1"] == pytest.approx(sum(pair) / 2)


def test_variant_that_changes_nothing_says_so(tmp_path: Path):
    config = {**ONE_MODEL, "variants": {"same": {}}, "ablation": {"variants": ["same"]}}
    assert describe_variant(collect_fake(tmp_path, FakeStudy(config=config)), "same") == "nothing"


def test_seeds_are_summed_up_only_where_there_are_several(results: Results, ablated: Results):
    assert seed_rows(results) == []
    row = seed_rows(ablated)[0]
    scores = [m.macro_f1 for m in ablated.select(backbone="mobilenet_v3_large", variant="base", init="scratch")]
    assert row["n_seeds"] == 2
    assert row["macro_f1_mean"] == pytest.approx(sum(scores) / 2)
    assert row["macro_f1_sd"] == pytest.approx(abs(scores[0] - scores[1]) / 2**0.5)
    assert row["macro_f1_mean_low"] < row["macro_f1_mean"] < row["macro_f1_mean_high"]


def test_the_interval_of_a_standard_deviation_covers_it_in_95_percent_of_studies_of_three_seeds():
    samples = np.random.default_rng(0).normal(0, 0.02, size=(2000, 3)).tolist()
    ends = [spread_columns("sd", sample) for sample in samples]
    assert np.mean([each["sd_low"] <= 0.02 <= each["sd_high"] for each in ends]) == pytest.approx(0.95, abs=0.015)


def test_every_class_of_every_model_has_a_row(results: Results):
    rows = per_class_rows(results)
    assert len(rows) == 4 * (3 + 3 + 7)
    assert all(row["support"] > 0 for row in rows)


def test_a_metric_of_metrics_json_has_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(METRICS, "new", Metric("New", per_class=False, compute=METRICS["accuracy"].compute))
    (row,) = model_rows(collect_fake(tmp_path, FakeStudy(config=ONE_MODEL)))
    assert all(row[f"new{end}"] == row[f"accuracy{end}"] for end in ("", "_low", "_high"))


def test_the_seeds_share_of_the_variance_is_the_simulated_one() -> None:
    """Of trainings with SD 0.02 and test patients with SD 0.01: 0.02^2 / 5 of 0.02^2 / 5 + 0.01^2."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        scores = 0.8 + 0.02 * rng.normal(size=5)
        spread = [*spread_columns("sd", scores).values()]
        whole = np.sqrt(spread[0] ** 2 / 5 + 0.01**2)  # as two-level resamples show it
        score = Estimate(0.8, 0.7, 0.9, 0.8 + whole * rng.normal(size=500), 40)
        found.append([*share_columns("share", score, spread, 5).values()])
    shares, lows, highs = np.array(found).T
    true = (0.02**2 / 5) / (0.02**2 / 5 + 0.01**2)
    assert abs(np.median(shares) - true) < 0.06
    assert 0.9 < ((lows <= true) & (true <= highs)).mean() < 0.99
    assert set(share_columns("share", score, spread, 2).values()) == {None}
