"""The verdict on copies: what was found, held against what is written, and what was left out."""

from pathlib import Path

import pytest

from cxrflow.checks.cautions_overlap import copies, expect_shared
from cxrflow.checks.verdicts import PASS, WARN
from cxrflow.compare.collect import Results
from cxrflow.config.readers import SHARED_IMAGES
from cxrflow.files.records import CopyRow, GroupRow, IndexRow
from cxrflow.files.tables import read_records, write_records
from tests.compare.fake_study import FakeStudy, all_said, collect_fake


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return collect_fake(tmp_path, FakeStudy(config={"backbones": ["resnet34"], "transfer": {}}))


def test_without_copies_what_is_written_was_expected_and_not_found(results: Results) -> None:
    verdict = copies.run(results)
    assert (verdict.level, verdict.value) == (PASS, 0)
    assert "among those of Paediatric pneumonia, and 0 were found" in all_said(verdict)
    assert "among those of ChestX-ray8, and 0 were found" in all_said(verdict)
    assert "cut unevenly most are missed" in all_said(verdict)


def test_what_was_found_is_counted_by_dataset_and_class_and_the_left_out_are_named(results: Results) -> None:
    viral = [row.image_id for row in read_records(results.layout.index("covid"), IndexRow) if "Viral" in row.label]
    pairs = [
        *(CopyRow("covid", viral[n], "pneumonia", f"pneumonia-{n}", "copy", "whole", 2, 0.99) for n in range(3)),
        CopyRow("pneumonia", "pneumonia-7", "pneumonia", "pneumonia-8", "copy", "whole", 0, 1.0),
        CopyRow("xray8", "xray8-1", "xray8", "xray8-2", "look-alike", "whole", 50, 0.92),
    ]
    write_records(results.layout.copies(), CopyRow, pairs)
    why = "a copy of it, pneumonia-8, has another label: viral"
    left_out = GroupRow("pneumonia", "pneumonia-7", "normal", "g", "g", "", why)
    write_records(results.layout.groups(), GroupRow, [left_out])
    verdict = copies.run(results)
    assert (verdict.level, verdict.value) == (WARN, 8)
    assert "3 images of COVID-19 Radiography are 3 of Paediatric pneumonia." in all_said(verdict)
    assert "2 images of Paediatric pneumonia have a copy in it." in all_said(verdict)
    assert "among those of Paediatric pneumonia, and 3 were found" in all_said(verdict)
    assert "another label: pneumonia-7 (Paediatric pneumonia) (data/groups.csv)" in all_said(verdict)
    assert "pair of images" in all_said(verdict)


def test_what_is_expected_grows_with_both_datasets() -> None:
    viral, _, nih = SHARED_IMAGES
    assert expect_shared(viral, 1345, 5856) == 1345
    assert expect_shared(viral, 120, 2928) == 60
    assert expect_shared(nih, 600, 264) == pytest.approx(1.23, abs=0.01)
