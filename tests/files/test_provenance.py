import os
import shutil

import pytest

from cxrflow.errors import CxrflowError
from cxrflow.files import atomic
from cxrflow.files.atomic import ChangedFileError, read_array, read_json, write_array, write_json
from cxrflow.files.provenance import made_with, verify_files, write_record
from cxrflow.files.records import RejectRow, read_predictions
from cxrflow.files.tables import read_records, write_records


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Make the files of two stages: table.csv, and from it numbers.json and numbers.npy; return their folder."""
    folder = tmp_path / "a study"
    for stage in ("first", "second"):
        monkeypatch.setattr(atomic, "READ", read := {})
        monkeypatch.setattr("cxrflow.files.provenance.READ", read)
        monkeypatch.setattr(atomic, "WRITTEN", written := set())
        monkeypatch.setattr("cxrflow.files.provenance.WRITTEN", written)
        if stage == "first":
            write_records(folder / "table.csv", RejectRow, [RejectRow("a", "a.png", "ill", "cap", "why")])
            write_record("first", {"seed": 1}, [folder / "table.csv"])
        else:
            read_records(folder / "table.csv", RejectRow)
            write_json(folder / "sub/numbers.json", {"n": 1})
            write_array(folder / "sub/numbers.npy", [1, 2])
            write_json(folder / "elsewhere.json", {})
            write_record("second", {"settings": {"n": 2}}, [folder / "sub/numbers.json"])
    (folder / "elsewhere.json").unlink()
    return folder


def test_a_record_says_what_was_made_of_what(study):
    record = made_with(study / "sub/numbers.npy")
    assert record == made_with(study / "sub/numbers.json")
    assert (record["stage"], record["settings"]) == ("second", {"settings": {"n": 2}})
    assert list(record["inputs"]) == ["../table.csv"]
    assert list(record["outputs"]) == ["numbers.json", "numbers.npy"]
    assert made_with(study / "table.csv")["settings"] == {"seed": 1}
    assert made_with(study / "other.csv") is None
    assert verify_files(study) == (3, [])


def test_outputs_in_two_folders_have_a_record_in_each(study, monkeypatch):
    written = {study / "a/one.json", study / "b/two.json"}
    for path in written:
        write_json(path, {})
    monkeypatch.setattr("cxrflow.files.provenance.WRITTEN", written)
    write_record("third", {}, sorted(written))
    assert [list(made_with(path)["outputs"]) for path in sorted(written)] == [["one.json"], ["two.json"]]


def test_a_study_may_be_moved(study, tmp_path):
    shutil.copytree(study, tmp_path / "elsewhere")
    shutil.rmtree(study)
    assert read_json(tmp_path / "elsewhere/sub/numbers.json") == {"n": 1}
    assert verify_files(tmp_path / "elsewhere") == (3, [])


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("table.csv", lambda path: read_records(path, RejectRow)),
        ("sub/numbers.json", read_json),
        ("sub/numbers.npy", read_array),
    ],
)
def test_one_changed_byte_is_found_wherever_it_is_read(study, name, read):
    read(study / name)
    data = bytearray((study / name).read_bytes())
    data[-3] ^= 1
    (study / name).write_bytes(data)
    with pytest.raises(ChangedFileError, match=f"{name} was changed or damaged after (first|second) made it"):
        read(study / name)
    n_files, (line,) = verify_files(study)
    assert (n_files, name in line) == (3, True)


def test_verify_names_what_is_missing_unknown_and_outdated(study, monkeypatch):
    (study / "sub/numbers.npy").unlink()
    (study / "sub/mine.csv").write_text("a")
    (study / "sub/stage.log").write_text("a log")
    monkeypatch.setattr("cxrflow.files.provenance.WRITTEN", {study / "table.csv"})
    (study / "table.csv").write_text("made again\n")
    write_record("first", {}, [study / "table.csv"])
    _, faults = verify_files(study)
    assert [line.removeprefix(f"{study}/") for line in faults] == [
        "sub/numbers.npy is missing: second made it",
        "sub/mine.csv was made by no stage that is recorded there",
        f"sub/numbers.json was made from another {study}/table.csv than the one that is there now",
    ]


@pytest.mark.parametrize("stage", ["first", "second"])
def test_a_changed_record_is_refused_and_named(study, stage):
    path = next(path for path in study.rglob(".provenance/*.json") if stage in path.read_text())
    text = path.read_text()
    path.write_text(text.replace('"seed": 1', '"seed": 2').replace('"n": 2', '"n": 3'))
    os.utime(path.parent)  # a process looks at a folder of records once, until one is written
    name = path.name.removesuffix(".json")
    with pytest.raises(ChangedFileError, match=f"{path.name} was changed or damaged"):
        made_with(path.parent.parent / name)
    with pytest.raises(ChangedFileError, match=f"{path.name} was changed or damaged"):
        (read_json if name.endswith("json") else lambda path: read_records(path, RejectRow))(path.parent.parent / name)
    assert any(line.startswith(f"{path} was changed or damaged") for line in verify_files(study)[1])
    for each in study.rglob(".provenance/*.json"):  # all of them
        each.write_text(each.read_text() + " ")
    assert any(line.startswith(f"{path} was changed or damaged") for line in verify_files(study)[1])


def test_lost_records_and_folders_are_named(study):
    (study / "sub/resume").mkdir()
    (study / "sub/resume/epoch_0001.pt").touch()
    (study / "sub/.lease").touch()
    assert verify_files(study) == (3, [])
    shutil.rmtree(study / "sub/.provenance")
    assert verify_files(study)[1] == [
        f"{study}/sub/{name} was made by no stage that is recorded there" for name in ("numbers.json", "numbers.npy")
    ]


def test_a_folder_that_later_files_were_made_from_is_missed(study, monkeypatch):
    monkeypatch.setattr("cxrflow.files.provenance.READ", {study / "sub/numbers.json": "0", study / "kept/a": "0"})
    monkeypatch.setattr("cxrflow.files.provenance.WRITTEN", {study / "page.html"})
    (study / "page.html").write_text("page")
    write_record("report", {}, [study / "page.html"])
    shutil.rmtree(study / "sub")
    assert verify_files(study)[1] == [
        f"{study}/page.html was made from {study}/sub/numbers.json, which is no longer there"
    ]


def test_all_below_a_folder_of_outputs_is_recorded(study, monkeypatch):
    drawn = study / "drawn"
    (drawn / "a/b").mkdir(parents=True)
    files = [drawn / "manifest.json", drawn / "a/b/image.png"]
    for path in files:
        path.write_text("content")
    monkeypatch.setattr("cxrflow.files.provenance.WRITTEN", {*files})
    write_record("phantom", {}, [drawn, drawn / "manifest.json"])
    assert verify_files(study) == (5, [])
    files[1].write_text("contend")
    assert verify_files(study)[1] == [f"{files[1]} was changed or damaged after phantom made it"]


def test_a_folder_without_records_cannot_be_verified(tmp_path):
    with pytest.raises(CxrflowError, match="has no records"):
        verify_files(tmp_path)


GOOD = "image_id,patient_id,label,predicted,p(a),p(b)\ni0,p0,a,b,0.25,0.75\ni1,p1,b,b,0.1,0.9\n"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("0.25,0.75", "1.7,-0.7", "the row of i0 is not a prediction"),
        ("0.25,0.75", "0.25,0.95", "the row of i0 is not a prediction"),
        ("0.1,0.9", "nan,0.9", "the row of i1 is not a prediction"),
        ("0.1,0.9", "0.1,", "not a class or a number"),
        ("p0,a,b", "p0,a,a", "the row of i0 is not a prediction"),
        ("p0,a,b", "p0,c,b", "not a class or a number"),
        ("i1", "i0", "an image twice"),
    ],
)
def test_what_is_no_prediction_is_refused(tmp_path, before, after, message):
    path = tmp_path / "predictions.csv"
    path.write_text(GOOD)
    assert read_predictions(path).image_ids == ["i0", "i1"]
    path.write_text(GOOD.replace(before, after))
    with pytest.raises(CxrflowError, match=f"{message}.*delete it and run evaluate again"):
        read_predictions(path)
