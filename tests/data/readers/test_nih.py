from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from cxrflow.config.readers import READERS
from cxrflow.config.settings import DatasetSettings
from cxrflow.data.readers import list_dataset
from cxrflow.data.readers.nih import (
    NO_FILE,
    NONE_OF_SIX,
    NOT_FIRST,
    NOT_LISTED,
    SEVERAL_OF_SIX,
    read_boxes,
    read_entries,
    select_entries,
)
from cxrflow.errors import CxrflowError
from tests.data.toy import make_nih, real_data, write_image

SETTINGS = DatasetSettings(reader="nih", folder="xray8")


def test_the_rule(tmp_path):
    make_nih(tmp_path)
    listing = list_dataset(tmp_path, SETTINGS)
    assert {each.image_id: each.label for each in listing.candidates} == {
        "00000001_001": "Effusion",
        "00000002_001": "No Finding",
        "00000003_001": "Mass",
        "00000004_000": "No Finding",
        "00000005_000": "Infiltration",
    }
    assert {row.image_id: row.reason for row in listing.rejects} == {
        "00000001_000": NONE_OF_SIX,
        "00000002_000": NOT_FIRST,
        "00000003_000": SEVERAL_OF_SIX,
        "00000006_000": NO_FILE,
    }
    assert listing.listed_missing == 1


def test_with_findings_every_image_is_kept_with_those_that_it_has(tmp_path):
    make_nih(tmp_path)
    listing = list_dataset(tmp_path, replace(SETTINGS, findings=("Effusion", "Mass", "Nodule", "Hernia")))
    facts = {each.image_id: each.metadata.partition("findings=")[2] for each in listing.candidates}
    assert facts == {
        "00000001_000": "none ignored=Cardiomegaly",
        "00000001_001": "Effusion ignored=Cardiomegaly",
        "00000002_000": "none",
        "00000002_001": "none",
        "00000003_000": "Mass|Nodule",
        "00000003_001": "Hernia|Mass",
        "00000004_000": "none",
        "00000005_000": "none ignored=Infiltration",
    }
    labels = {each.image_id: each.label for each in listing.candidates}
    assert all((labels[name] == "Finding") == (not fact.startswith("none")) for name, fact in facts.items())
    assert [(row.kind, row.image_id) for row in listing.rejects] == [("missing", "00000006_000")]
    assert listing.regions == [], "an explanation is of one class per image"


def test_a_finding_that_is_none_is_refused(tmp_path):
    make_nih(tmp_path)
    for finding in ("Infiltrate", "No Finding"):
        with pytest.raises(CxrflowError, match=f"findings: '{finding}' is no finding of this set"):
            list_dataset(tmp_path, replace(SETTINGS, findings=("Mass", finding)))


def test_a_missing_first_image_is_not_replaced_by_a_later_one(tmp_path):
    make_nih(tmp_path, missing=["00000002_001.png"])
    listing = list_dataset(tmp_path, SETTINGS)
    assert "00000002_000" not in {each.image_id for each in listing.candidates}
    assert listing.listed_missing == 1


def test_boxes_of_the_images_own_class_only(tmp_path):
    make_nih(tmp_path)
    (region,) = list_dataset(tmp_path, SETTINGS).regions
    assert (region.image_id, region.kind) == ("00000005_000", "lesion")
    assert (region.x_px, region.y_px, region.width_px, region.height_px) == (512.0, 256.0, 128.0, 64.0)


def test_flat_folder_and_parts(tmp_path):
    make_nih(tmp_path, missing=())
    sources = {each.source for each in list_dataset(tmp_path, SETTINGS).candidates}
    assert sources == {"images_001", "images_002"}
    flat = tmp_path / "images"
    flat.mkdir()
    for path in tmp_path.glob("images_00*/images/*.png"):
        path.rename(flat / path.name)
    listing = list_dataset(tmp_path, SETTINGS)
    assert {each.path for each in listing.candidates} >= {"images/00000001_001.png"}
    assert listing.listed_missing == 0


def test_files_that_the_table_does_not_list(tmp_path):
    make_nih(tmp_path)
    write_image(tmp_path / "images_001/images/99999999_000.png", 1)
    rejects = {row.image_id: row.reason for row in list_dataset(tmp_path, SETTINGS).rejects}
    assert rejects["99999999_000"] == NOT_LISTED


def test_a_table_without_its_columns(tmp_path):
    make_nih(tmp_path)
    table = tmp_path / "Data_Entry_2017.csv"
    table.write_text(table.read_text().replace("Finding Labels", "Labels"))
    with pytest.raises(CxrflowError, match=r"Data_Entry_2017.csv lacks .*Finding Labels; it has Image Index, Labels"):
        list_dataset(tmp_path, SETTINGS)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("00000009_000.png,Mass,first,9,,,,,,,", "line 11: expected"),
        ("00000009_000.png,,0,9,,,,,,,", "line 11: expected"),
        ("00000001_000.png,Mass,0,1,,,,,,,", "line 11: 00000001_000.png is listed twice"),
        ("00000009_000.png", "line 11: expected"),
        ("00000009_000.png,Infiltrtion|Mass,0,9,,,,,,,", "line 11: unknown finding 'Infiltrtion'; known: No Finding, "),
    ],
)
def test_bad_rows_name_their_line(tmp_path, row, message):
    make_nih(tmp_path)
    with (tmp_path / "Data_Entry_2017.csv").open("a") as handle:
        handle.write(row + "\n")
    with pytest.raises(CxrflowError, match=message):
        list_dataset(tmp_path, SETTINGS)


def test_a_bad_box_names_its_line(tmp_path):
    make_nih(tmp_path)
    (tmp_path / "BBox_List_2017.csv").write_text(
        "Image Index,Finding Label,Bbox [x,y,w,h]\n00000005_000.png,Mass,1,2\n"
    )
    with pytest.raises(CxrflowError, match="line 2: expected file"):
        list_dataset(tmp_path, SETTINGS)


@pytest.mark.slow
def test_the_rule_gives_the_published_counts_on_the_whole_table():
    folder: Path = real_data("xray8")
    entries = read_entries(folder / "Data_Entry_2017.csv")
    labels, reasons = select_entries(entries)
    assert Counter(labels.values()) == READERS["nih"].published_counts
    assert len(entries) == len(labels) + len(reasons) == 112_120
    assert select_entries(entries[::-1])[0] == labels  # the order of rows does not matter
    boxes = read_boxes(folder / "BBox_List_2017.csv", labels, {entry.name: entry.name for entry in entries})
    assert len(boxes) == 261
