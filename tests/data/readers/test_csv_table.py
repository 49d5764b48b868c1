from dataclasses import replace

import pytest

from cxrflow.data.readers import list_dataset
from cxrflow.errors import CxrflowError
from tests.data.toy import make_csv, write_image


def append(folder, line):
    with (folder / "labels.csv").open("a") as handle:
        handle.write(line + "\n")


def test_paths_file_names_missing_files_and_other_labels(tmp_path):
    listing = list_dataset(tmp_path, make_csv(tmp_path))
    assert {each.path: (each.label, each.patient_id) for each in listing.candidates} == {
        "films/a.png": ("normal", "p1"),
        "films/sub/b.png": ("pneumonia", "p1"),
        "films/c.png": ("pneumonia", "p2"),  # listed by its file name alone
    }
    assert listing.listed_missing == 1
    assert [(row.path, row.reason) for row in listing.rejects] == [
        ("films/gone.png", "the table lists it, and there is no such file"),
        ("films/d.png", "its label '2' is not a class of the study"),
    ]


def test_without_classes_every_value_is_one(tmp_path):
    settings = replace(make_csv(tmp_path), classes={}, patient_column="", patient_pattern=r"films/(?P<patient>.)")
    listing = list_dataset(tmp_path, settings)
    assert {each.label for each in listing.candidates} == {"0", "1", "2"}
    assert {each.patient_id for each in listing.candidates} == {"a", "s", "c", "d"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("films/a.png,1,p1", "line 7: 'films/a.png' is listed twice, first in line 2"),
        ("a.png,1,p1", "line 7: 'a.png' is listed twice"),
        (",1,p1", "line 7: the image's name is empty"),
        ("../secret.png,1,p1", "line 7: .* lies outside"),
        ("/etc/x.png,1,p1", "line 7: .* lies outside"),
        ("films/e.png,1,", "line 7: .* has no patient in the column who"),
        ("e.png,1,p9", "line 7: 'e.png' is in films/e.png and films/sub/e.png"),
    ],
)
def test_bad_rows_name_their_line(tmp_path, line, message):
    settings = make_csv(tmp_path)
    write_image(tmp_path / "films/e.png", 20)
    if line.startswith("e.png"):
        write_image(tmp_path / "films/sub/e.png", 21)
    append(tmp_path, line)
    with pytest.raises(CxrflowError, match=message):
        list_dataset(tmp_path, settings)


def test_an_empty_label_is_an_error_where_every_value_is_a_class(tmp_path):
    settings = replace(make_csv(tmp_path), classes={})
    write_image(tmp_path / "films/a2.png", 9)
    append(tmp_path, "films/a2.png,,p1")
    with pytest.raises(CxrflowError, match=r"line 7: .* has no label in the column target"):
        list_dataset(tmp_path, settings)


def test_missing_column_names_what_there_is(tmp_path):
    settings = replace(make_csv(tmp_path), label_column="diagnosis")
    with pytest.raises(CxrflowError, match=r"lacks the column\(s\) diagnosis; it has file, target, who"):
        list_dataset(tmp_path, settings)


def test_a_class_that_no_row_has_names_the_values_there_are(tmp_path):
    settings = replace(make_csv(tmp_path), classes={"0": "normal", "1": "pneumonia", "7": "covid"})
    with pytest.raises(CxrflowError, match=r"no image of the class\(es\) covid: .*'7'.* '1' \(3\)"):
        list_dataset(tmp_path, settings)


def test_a_table_must_be_named(tmp_path):
    with pytest.raises(CxrflowError, match="needs the key `table`"):
        list_dataset(tmp_path, replace(make_csv(tmp_path), table=""))
