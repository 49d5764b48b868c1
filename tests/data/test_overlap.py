"""Test images that a model has seen in the training it starts from: by bytes, by pixels, by patient."""

import dataclasses
from pathlib import Path

import pytest

from cxrflow.checks.cautions_training import transfer_leak
from cxrflow.checks.claims_scores import transfer_gain
from cxrflow.checks.verdicts import FAIL, UNKNOWN
from cxrflow.compare.collect import Results
from cxrflow.compare.paired import transfer_rows
from cxrflow.compare.rows import model_rows
from cxrflow.data.overlap import DatasetSplit, list_seen
from cxrflow.files.records import IndexRow
from cxrflow.files.tables import read_records, write_records
from cxrflow.select.choosing import list_candidates
from tests.compare.fake_study import FakeStudy, collect_fake


def image(name: str, patient: str = "", *, pixels: str = "", file: str = "") -> IndexRow:
    return IndexRow(name, name, "a", patient or name, "", 8, 8, "L", file or f"f {name}", pixels or f"p {name}")


@pytest.mark.parametrize(
    ("source", "target", "seen"),
    [
        (image("x"), image("y"), False),
        (image("x", pixels="same"), image("y", pixels="same"), True),
        (image("x", file="same"), image("y", file="same"), True),
        (image("x", "anna"), image("y", "anna"), False),  # two hospitals may both have an Anna
        (image("x"), image("x", pixels="other", file="other"), False),  # and an image of the same name
    ],
)
def test_what_is_the_same_image(source: IndexRow, target: IndexRow, seen: bool) -> None:
    assert list_seen(DatasetSplit([source], []), DatasetSplit([], [target])) == [target] * seen
    assert list_seen(DatasetSplit([], [source]), DatasetSplit([], [target])) == [], "its test images train nothing"
    assert list_seen(DatasetSplit([source], []), DatasetSplit([target], [])) == [], "and what is no test image is none"


def test_patients_are_compared_where_both_datasets_name_them_alike() -> None:
    source, target = image("x", "anna"), image("y", "anna")
    assert list_seen(DatasetSplit([source], []), DatasetSplit([], [target]), one_collection=True) == [target]
    common = image("z", "ben")
    assert list_seen(DatasetSplit([source], [common]), DatasetSplit([common], [target])) == [target]
    assert list_seen(DatasetSplit([source], [image("z")]), DatasetSplit([image("z")], [target])) == []


@pytest.fixture
def one_folder_twice(tmp_path: Path) -> Results:
    """A study whose datasets have other names and are one folder, the one split unlike the other, with transfer."""
    datasets = {name: {"reader": "folders", "folder": "one"} for name in ("first", "second")}
    transfer = {"second": {"init": "from_first", "backbone": "resnet34"}}
    config = {
        "datasets": datasets,
        "transfer": transfer,
        "backbones": ["resnet34"],
        "score": {"bootstrap_resamples": 20},
    }
    results = collect_fake(tmp_path, FakeStudy(config=config))
    first = read_records(results.layout.index("first"), IndexRow)
    second = read_records(results.layout.index("second"), IndexRow)
    turned = [*first[5:], *first[:5]]  # an image of another subset and patient
    copies = [
        dataclasses.replace(row, pixel_sha256=other.pixel_sha256) for row, other in zip(second, turned, strict=True)
    ]
    write_records(results.layout.index("second"), IndexRow, copies)
    return results


def test_two_datasets_of_one_folder_are_caught_wherever_a_model_may_have_seen_test_images(
    one_folder_twice: Results,
) -> None:
    results = one_folder_twice
    (model,) = results.select(init="from_first")
    n_test = sum(results.datasets["second"].counts["test"].values())
    n_seen = results.seen_test.count(model.id)
    assert 0.5 * n_test < n_seen <= n_test
    assert not results.study.may_have_seen_test(model.id), "no reader knows of it"
    verdict = transfer_leak.run(results)
    assert (verdict.level, verdict.value) == (FAIL, n_seen)
    assert (
        f"the model for second that starts from first starts from one that has seen {n_seen} of its {n_test}"
        in verdict.text
    )
    assert [row["caution"] for row in model_rows(results)] == ["", "", f"has seen {n_seen} of {n_test} test images"]
    assert transfer_rows(results)[0]["caution"].startswith("has seen")
    assert transfer_gain.run(results, 0.05).level == UNKNOWN
    assert [
        group[0].init for group in list_candidates(results.study, results.layout, results.study.models(), "second")
    ] == ["scratch"]
