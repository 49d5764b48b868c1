"""Table 5 and its check: right and wrong predictions apart, with intervals over patients, against random maps."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxrflow.checks.registry import load_check
from cxrflow.checks.verdicts import UNKNOWN, WARN
from cxrflow.compare.collect import Results
from cxrflow.compare.explanations import (
    BETTER,
    COARSE,
    NO_BETTER,
    NOT_FIXED,
    UNSURE,
    Localization,
    estimate_localization,
    explanation_rows,
)
from cxrflow.files.atomic import read_json, write_json
from cxrflow.files.records import LocalizationRow
from cxrflow.results.bootstrap import average_images
from tests.compare.fake_study import ONE_MODEL, FakeStudy, all_said, collect_fake

ROW = LocalizationRow("a", "p", "Mass", "Mass", "lesion", 0.3, 0.1, 0.2, 0.1, 1.0, 0.1, 0.5, 0)


def judge(rows: Sequence[LocalizationRow]) -> str:
    return Localization("lesion", "right", len(rows), estimate_localization(rows, 200, 0)).verdict


def make_rows(n_patients: int, hits: float, inside: float = 0.3) -> list[LocalizationRow]:
    """Return two images a patient; the first share of patients is hit."""
    return [
        replace(
            ROW, patient_id=f"p{k // 2}", hit=float(k < 2 * n_patients * hits), inside_share=inside + 0.01 * (k % 3)
        )
        for k in range(2 * n_patients)
    ]


@pytest.mark.parametrize(
    ("n_patients", "hits", "inside", "verdict"),
    [
        (30, 0.9, 0.3, BETTER),
        (30, 0.5, 0.3, NOT_FIXED),
        (30, 0.1, 0.09, NO_BETTER),
        (30, 0.8, 0.09, "better by pointing only"),
        (30, 0.1, 0.3, "better by the inside share only"),
        (30, 0.0, 0.0, NO_BETTER),
        (9, 1.0, 0.9, UNSURE),
    ],
)
def test_a_verdict_follows_from_both_differences(n_patients: int, hits: float, inside: float, verdict: str):
    assert judge(make_rows(n_patients, hits, inside)) == verdict


def test_patients_are_resampled_and_not_images():
    rows = make_rows(20, 0.5)
    apart = [replace(row, patient_id=str(k)) for k, row in enumerate(rows)]
    widths = [each.high - each.low for each in (estimate_localization(some, 2000, 0)["hit"] for some in (rows, apart))]
    assert widths[0] / widths[1] == pytest.approx(2**0.5, rel=0.1)


def test_an_average_is_that_of_images_and_never_of_zero_width():
    means = average_images({"a": [0.0, 0.0, 0.0] * 5, "b": [0.2, 0.4, 0.9] * 5}, [f"p{k}" for k in range(15)], 500, 0)
    assert (means["a"].value, means["b"].value) == (0, pytest.approx(0.5))
    assert (means["a"].low, means["a"].high) == (0, pytest.approx(0.204, abs=1e-3))  # Wilson's of 0 of 15
    assert means["b"].low < 0.5 < means["b"].high


def test_random_maps_do_not_beat_themselves():
    """Maps as good as random ones: their difference is above 0 about as often as its interval says, once in 40."""
    generator = np.random.default_rng(0)
    verdicts = [
        judge([
            replace(ROW, patient_id=str(k), hit=float(generator.random() < 0.1), inside_share=generator.beta(1, 9))
            for k in range(40)
        ])
        for _ in range(200)
    ]  # fmt: skip
    assert verdicts.count(BETTER) <= 2
    assert verdicts.count(NO_BETTER) >= 180


def test_rows_are_right_and_wrong_predictions_apart_with_every_number_an_interval(results: Results):
    rows = explanation_rows(results)
    assert [row["predicted"] for row in rows[:2]] == ["right", "wrong"]
    right = rows[0]
    model = results.models[0]
    counted = [row for row in model.localizations if row.label == row.predicted]
    assert (right["n_images"], right["n_patients"]) == (len(counted), len({row.patient_id for row in counted}))
    assert right["hit"] == pytest.approx(np.mean([row.hit for row in counted]))
    assert right["hit_gain"] == pytest.approx(right["hit"] - 0.1)
    assert right["hit_low"] < right["hit"] < right["hit_high"]
    assert (right["maps"], right["verdict"]) == ("LayerCAM at layer1, 12x12 cells", BETTER)


def test_a_fixed_place_that_is_not_known_is_absent():
    found = estimate_localization(
        [replace(row, hit_fixed=np.nan, inside_share_fixed=np.nan) for row in make_rows(12, 0.5)], 50, 0
    )
    assert not {"hit_fixed", "inside_share_fixed", "hit_fixed_gain"} & set(found)


def test_the_check_says_layer_cells_class_patients_and_what_random_maps_reach(results: Results):
    verdict = load_check("maps").run(results)
    assert verdict.level == WARN  # never a yes
    assert "networks trained on shuffled labels" in all_said(verdict)
    for said in (
        "LayerCAM at layer1, 12x12 cells",
        "the true class's maps of",
        "patients predicted right",
        "random maps in",
    ):
        assert said in all_said(verdict)
    assert "a fixed place in" in all_said(verdict)


def test_without_annotations_there_are_no_rows_and_no_verdict(tmp_path: Path):
    bare = collect_fake(tmp_path, FakeStudy(ONE_MODEL, regions=False))
    assert explanation_rows(bare) == []
    assert load_check("maps").run(bare).level == UNKNOWN


def test_too_few_cells_are_said(tmp_path: Path):
    coarse = collect_fake(tmp_path, FakeStudy(ONE_MODEL))
    path = coarse.models[0].folder / "gradcam.json"
    write_json(path, {**read_json(path), "is_scored": False, "grid": [3, 3]})
    (coarse.models[0].folder / "gradcam.csv").write_text(
        (coarse.models[0].folder / "gradcam.csv").read_text().splitlines()[0] + "\n"
    )
    (row,) = explanation_rows(coarse)
    assert (row["verdict"], row["hit"], row["maps"]) == (COARSE, None, "LayerCAM at layer1, 3x3 cells")
    verdict = load_check("maps").run(coarse)
    assert verdict.level in (UNKNOWN, WARN)
    assert "Not scored, with fewer than 7x7 cells: ResNet-34" in all_said(verdict)
