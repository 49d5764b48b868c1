"""Which scores of several findings may be held against published ones."""

from pathlib import Path
from typing import Any

import pytest

from cxrflow.compare.collect import DatasetResult, Results
from cxrflow.compare.findings import OFFICIAL_TEST, say_comparable
from cxrflow.config.parsing import parse_settings
from cxrflow.config.settings import StudySettings
from cxrflow.config.study import Study
from cxrflow.files.records import SplitRow

LABELS = [f"label {k}" for k in range(14)]


def make_results(n_test: int, decided_by: str = "published", **changes: Any) -> Results:
    dataset = {"reader": "nih", "folder": "xray8", "findings": LABELS} | changes
    settings = parse_settings(StudySettings, {"study": "x", "datasets": {"xray8": dataset}})
    found = DatasetResult("xray8", "ChestX-ray14", Path("data"), {})
    found.__dict__["split"] = [SplitRow("i", "Finding", "p", "g", "test", decided_by)] * n_test
    return Results(Study(settings), [], Path("results"), {"xray8": found}, [], [])


@pytest.mark.parametrize(
    ("results", "words"),
    [
        (make_results(OFFICIAL_TEST), "test images: 25,596 of 25,596): those of the official test list compare."),
        (make_results(OFFICIAL_TEST - 9), "test images: 25,587 of 25,596): those of the official test list compare."),
        (make_results(20_000), "too many images of the official test list are missing"),
        (make_results(OFFICIAL_TEST, "seed"), "no score of Table 4 compares with these: its split is not the official"),
        (make_results(OFFICIAL_TEST, findings=LABELS[:13]), "13 of the 14 labels are asked for"),
    ],
)
def test_only_the_official_list_and_all_labels_compare(results: Results, words: str) -> None:
    assert words in say_comparable(results)
