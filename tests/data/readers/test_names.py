"""Names that are compared: one normal form, for patients, labels, images, masks and parts, in every reader."""

from dataclasses import replace

import pytest

from cxrflow.config.settings import DatasetSettings
from cxrflow.data.readers import list_dataset
from cxrflow.data.readers.keys import clean_name, is_container, loose_key, part_of
from cxrflow.errors import CxrflowError
from tests.data.toy import NIH_HEADER, make_csv, make_folders, make_nih, write_image

FOLDERS = DatasetSettings(reader="folders", folder="data")
CSV = DatasetSettings(reader="csv", folder="data", table="t.csv", patient_column="patient")
DECOMPOSED, COMPOSED = "Mu\u0308ller", "M\u00fcller"


def write_csv(folder, rows, header="image,label,patient"):
    """Write a table and an image for every row's file name."""
    (folder / "t.csv").write_text("\n".join([header, *rows]) + "\n")
    for number, name in enumerate(["a.png", "b.png", "c.png", "d.png"]):
        write_image(folder / name, number)


@pytest.mark.parametrize(
    "name", ["p 0", " p 0 ", "p\u00a00", "p\t 0", "\ufeffp 0", "p 0\u200b", "\uff50 0"], ids=lambda name: ascii(name)
)
def test_what_cannot_be_seen_tells_no_names_apart(name):
    assert clean_name(name) == "p 0"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("7", "7.0"),
        ("7", "007"),
        ("7", "+7."),
        ("120000", "1.2E+05"),
        ("P07", "p7"),
        ("PAT-001", "pat 1"),
        ("PAT_1", "PAT1"),
        ("1,234", "1234"),
        ("a-01", "A-1"),
    ],
)
def test_case_and_number_format_tell_no_names_apart_for_sure(one, other):
    assert loose_key(one) == loose_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("7", "70"),
        ("1.05", "1.5"),
        ("1.2.10", "1.2.1"),
        ("p1", "p11"),
        ("1-1", "11"),
        ("1,23", "123"),
        ("0", ""),
    ],
)
def test_other_numbers_are_other_names(one, other):
    assert loose_key(one) != loose_key(other)


@pytest.mark.parametrize(
    ("one", "other"), [("p0", "p0 "), (DECOMPOSED, COMPOSED), ("7", "7.0"), ("7", "007"), ("P1", "p1")]
)
def test_one_patient_written_in_two_ways_is_one_and_named(tmp_path, one, other):
    write_csv(tmp_path, [f"a.png,x,{one}", f"b.png,y,{other}", "c.png,x,9", "d.png,y,10"])
    listing = list_dataset(tmp_path, CSV)
    assert len({each.patient_id for each in listing.candidates}) == 3
    (note,) = listing.notes
    assert note.startswith("1 patients are written in several ways")
    assert repr(one) in note
    assert repr(other) in note


def test_patients_of_a_pattern_and_of_the_nih_table_go_the_same_way(tmp_path):
    make_folders(tmp_path / "folders", per_class=2)
    write_image(tmp_path / "folders/ill/P00_9.png", 9)
    settings = replace(FOLDERS, patient_pattern=r"/(?P<patient>[pP]\d+)_")
    listing = list_dataset(tmp_path / "folders", settings)
    assert {each.patient_id for each in listing.candidates} == {"p0"}
    settings = make_nih(tmp_path / "nih")
    with (tmp_path / "nih/Data_Entry_2017.csv").open("a") as handle:
        handle.write("00000004_001.png,No Finding,1, 0004 ,,,,,\n00000005_001.png,Mass,1,5.0,,,,,\n")
    write_image(tmp_path / "nih/images_001/images/00000004_001.png", 30)
    write_image(tmp_path / "nih/images_001/images/00000005_001.png", 31)
    listing = list_dataset(tmp_path / "nih", settings)
    assert {each.patient_id for each in listing.candidates if each.image_id.startswith("00000005")} == {"5"}
    assert "00000004_001" not in {each.image_id for each in listing.candidates}  # not the patient's first


@pytest.mark.parametrize("cell", ["nan", " None ", "N/A", "#N/A", "#NAME?", "\u2014"])
def test_an_empty_cell_is_no_patient(tmp_path, cell):
    write_csv(tmp_path, ["a.png,x,1", f"b.png,y,{cell}"])
    with pytest.raises(CxrflowError, match=r"line 3: 'b\.png' has no patient in the column patient"):
        list_dataset(tmp_path, CSV)


def test_a_pattern_that_finds_an_empty_cell_is_told(tmp_path):
    make_folders(tmp_path, per_class=2)
    write_image(tmp_path / "ill/nan_1.png", 9)
    with pytest.raises(
        CxrflowError, match=r"1 images, such as ill/nan_1\.png, have the patient 'nan', which looks like"
    ):
        list_dataset(tmp_path, replace(FOLDERS, patient_pattern=r"/(?P<patient>\w+)_"))


@pytest.mark.parametrize("label", ["1.0", "01", " 1"])
def test_labels_of_the_settings_are_found_in_any_number_format(tmp_path, label):
    write_csv(tmp_path, [f"a.png,{label},1", "b.png,0,2"])
    listing = list_dataset(tmp_path, replace(CSV, classes={"0": "no", "1": "yes"}))
    assert {each.path: each.label for each in listing.candidates} == {"a.png": "yes", "b.png": "no"}
    assert bool(listing.notes) == (label.strip() != "1")


def test_labels_that_differ_in_case_are_parted_where_the_settings_part_them(tmp_path):
    write_csv(tmp_path, ["a.png,Covid,1", "b.png,covid,2", "c.png,COVID,3"])
    listing = list_dataset(tmp_path, replace(CSV, classes={"Covid": "one", "covid": "two"}))
    assert {each.path: each.label for each in listing.candidates} == {"a.png": "one", "b.png": "two"}
    assert [row.path for row in listing.rejects if row.label == "COVID"] == ["c.png"]  # either could be meant


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("Covid", "covid"), "'Covid', 'covid' differ in case, number format or .* alone: .*\"covid\": \"Covid\""),
        (("1", "1.0"), "'1', '1.0' differ in case, number format or what parts words alone"),
        (("Viral Pneumonia", "viral_pneumonia"), "'Viral Pneumonia', 'viral_pneumonia' differ in case"),
        (("COVID-19", "COVID19"), "'COVID-19', 'COVID19' differ in case"),
        (("#N/A", "sick"), "'#N/A' looks like an empty cell"),
        (("sick", "nan"), "'nan' looks like an empty cell: .* `classes: {\"label\""),
        (("none", "sick", "well"), '\'none\' looks like an empty cell: .* {"sick": "sick", "well": "well"}'),
        (("train", "test"), "'test', 'train' looks like a part of a split"),
    ],
)
def test_a_label_that_is_not_plainly_a_class_stops(tmp_path, labels, message):
    write_csv(tmp_path, [f"{'abcd'[n]}.png,{label},{n}" for n, label in enumerate(labels)])
    with pytest.raises(CxrflowError, match=message):
        list_dataset(tmp_path, CSV)
    named = list_dataset(tmp_path, replace(CSV, classes={label: f"class {label}" for label in labels}))
    assert {each.label for each in named.candidates} == {f"class {label}" for label in labels}


@pytest.mark.parametrize(
    "name",
    [
        "train",
        "Training",
        "train_set",
        "TEST-images",
        "val",
        "validation data",
        "dev",
        "test_2",
        "stage_1_train_images",
        "TestData",
        "training_set_1",
        "Validation v2",
        "a_train-val",
        "my test",
    ],
)
def test_parts_of_a_split_by_any_name(name):
    words = {"train": "train", "test": "test", "val": "val", "dev": "val"}
    assert part_of(name) == next(part for word, part in words.items() if word in name.casefold())


@pytest.mark.parametrize(
    "name", ["trained", "testicular", "valve", "normal", "NORMAL", "latest", "train_test", "X", "COVID+"]
)
def test_other_words_are_no_part_and_no_container(name):
    assert not part_of(name)
    assert not is_container(name)


@pytest.mark.parametrize("name", ["images_001", "CXR_png", "X-ray images", "dataset (1)", "Archive 2", "masks"])
def test_names_of_containers(name):
    assert is_container(name)


def test_classes_that_differ_in_a_sign_of_their_own_are_two(tmp_path):
    write_csv(tmp_path, ["a.png,COVID+,1", "b.png,COVID-,2"])
    assert {each.label for each in list_dataset(tmp_path, CSV).candidates} == {"COVID+", "COVID-"}


def test_masks_are_found_in_another_unicode_form_and_case(tmp_path):
    for name in ("ill/é.png", "ill/B.png", "well/c.png"):
        write_image(tmp_path / name, len(name))
    for name in ("e\u0301.png", "b.png", "of_nothing.png"):
        write_image(tmp_path / "lesions" / name, 1)
    listing = list_dataset(tmp_path, replace(FOLDERS, lesion_masks="lesions"))
    assert {row.image_id: row.mask_path for row in listing.regions} == {
        "ill/é.png": "lesions/e\u0301.png",
        "ill/B.png": "lesions/b.png",
    }
    assert listing.notes == ["1 lesion masks are named like no image: 'lesions/of_nothing.png'"]
    write_image(tmp_path / "lesions/more/B.png", 2)
    with pytest.raises(CxrflowError, match=r"'lesions/b\.png', 'lesions/more/B\.png' are named like one image"):
        list_dataset(tmp_path, replace(FOLDERS, lesion_masks="lesions"))


def test_images_are_found_in_another_unicode_form_and_with_backslashes(tmp_path):
    write_image(tmp_path / "films/e\u0301.png", 1)
    write_image(tmp_path / "films/b.png", 2)
    (tmp_path / "t.csv").write_text("image,label\nfilms/é.png,x\nfilms\\b.png,y\n")
    listing = list_dataset(tmp_path, replace(CSV, patient_column=""))
    assert {each.path for each in listing.candidates} == {"films/e\u0301.png", "films/b.png"}


def test_the_nih_tables_files_and_findings_may_have_blanks(tmp_path):
    settings = make_nih(tmp_path, missing=())
    (tmp_path / "Data_Entry_2017.csv").write_text(
        f"{NIH_HEADER}\n 00000005_000.png ,Infiltration | Hernia,0, 5 ,,,,,\n00000006_000.png,Mass,0,6,,,,,\n"
    )
    listing = list_dataset(tmp_path, settings)
    assert {each.image_id: each.label for each in listing.candidates} == {
        "00000005_000": "Infiltration",
        "00000006_000": "Mass",
    }


def test_rows_without_a_file_are_listed_and_the_nearest_file_is_named(tmp_path):
    settings = make_csv(tmp_path)
    for cell, near in {
        "films/a": r"'films/a\.png', where the suffix differs",
        "films/A.png": r"'films/a\.png', where the case differs",
        "C:\\\\x\\\\films\\\\a.png": r"'films/a\.png', where the drive and the folder differ",
        "old/films/a.png": r"'films/a\.png', where the folder differs",
        "films/q.jpg": None,
    }.items():
        (tmp_path / "labels.csv").write_text(
            f"file,target,who\n\n{cell},0,p1\nfilms/c.png,1,p2\nfilms/d.png,0,p3\n".replace("\\\\", "\\")
        )
        listing = list_dataset(tmp_path, settings)
        assert [row.path for row in listing.rejects if row.kind == "missing"] == [cell.replace("\\\\", "\\")]
        (note,) = [note for note in listing.notes if "without a file" in note]
        assert "in line 3" in note
        assert note.endswith(f"the nearest file is {near}".replace("\\.", ".")) if near else "nearest" not in note
