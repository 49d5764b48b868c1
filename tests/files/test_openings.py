"""The record of who has opened the test rows: one file per opening, and none of them changes or goes unnoticed."""

import threading
from pathlib import Path

import pytest

from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import sha256_file
from cxrflow.files.openings import OPENINGS, read_openings, record_opening
from cxrflow.files.provenance import verify_files, write_record

MODEL = "covid/resnet34/scratch/base/seed0"


@pytest.fixture
def test_csv(tmp_path: Path) -> Path:
    """A table that was opened three times, last by another model."""
    test = tmp_path / "test.csv"
    test.write_text("image_id\n")
    for name, sha256 in ((MODEL, "a" * 64), (MODEL, "b" * 64), ("probe", "c" * 64)):
        record_opening(test, name, sha256)
    return test


def records(test: Path) -> list[Path]:
    return sorted((test.parent / OPENINGS).iterdir())


def test_each_opening_has_a_record_that_names_the_one_before(test_csv: Path) -> None:
    openings = read_openings(test_csv.parent / OPENINGS)
    assert [opening.opener for opening in openings] == [MODEL, MODEL, "probe"]
    assert [path.stem[-13:] for path in records(test_csv)] == [f"-{letter * 12}" for letter in "abc"]
    assert [opening.previous for opening in openings] == ["", *(sha256_file(path) for path in records(test_csv)[:2])]
    assert {opening.test_sha256 for opening in openings} == {sha256_file(test_csv)}
    assert all(opening.time.endswith("+00:00") and opening.user and opening.host for opening in openings)
    assert read_openings(test_csv.parent / "other") == []


def test_jobs_at_the_same_time_lose_no_record(test_csv: Path) -> None:
    jobs = [threading.Thread(target=record_opening, args=(test_csv, f"model{i}", f"{i:064d}")) for i in range(16)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert len(read_openings(test_csv.parent / OPENINGS)) == 19


def test_a_record_that_is_changed_or_removed_is_missed(test_csv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxrflow.files.provenance.WRITTEN", {test_csv})
    write_record("split", {}, [test_csv])
    assert verify_files(test_csv.parent) == (1, [])
    second = records(test_csv)[1]
    text = second.read_text()
    second.write_text(text.replace(MODEL, "other"))
    with pytest.raises(CxrflowError, match=f"{second.name} was changed or damaged"):
        read_openings(second.parent)
    second.unlink()
    with pytest.raises(CxrflowError, match="1 of its records changed or removed since"):
        read_openings(second.parent)
    assert ["1 of its records" in line for line in verify_files(test_csv.parent)[1]] == [True]
