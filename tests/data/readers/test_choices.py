"""What every reader leaves out, takes for a class, or passes over: by settings, and never without a word."""

import os
from collections import Counter
from dataclasses import replace

import pytest

from cxrflow.config.settings import DatasetSettings
from cxrflow.data.readers import list_dataset
from cxrflow.errors import CxrflowError
from tests.data.toy import MAKERS, make_covid, make_csv, make_folders, make_kermany, make_nih, write_image

FOLDERS = DatasetSettings(reader="folders", folder="data")

NOT_HERE = "no image at all of the class(es) 'Atelectasis', 'Nodule', 'Pneumothorax'"  # of the toy of `nih`


def labels_of(listing):
    return Counter(each.label for each in listing.candidates)


def test_masks_of_the_published_set_are_no_xrays_for_folders(tmp_path):
    make_covid(tmp_path)
    listing = list_dataset(tmp_path / "COVID-19_Radiography_Dataset", FOLDERS)
    assert labels_of(listing) == {"COVID": 4, "Lung_Opacity": 4, "Normal": 4, "Viral Pneumonia": 4}
    assert [(row.path, row.reason) for row in listing.rejects[:1]] == [
        ("COVID/masks/COVID-1.png", "'*masks' is left out (skip)")
    ]
    assert len(listing.rejects) == 4


@pytest.mark.parametrize(
    "mask", ["mask/x.png", "lung masks/x.png", "ManualMask/left/x.png", "x_mask.png", "x-Mask.PNG"]
)
def test_masks_by_any_usual_name_are_no_xrays(tmp_path, mask):
    make_folders(tmp_path)
    write_image(tmp_path / "ill" / mask, 9)
    listing = list_dataset(tmp_path, FOLDERS)
    assert labels_of(listing) == {"healthy": 4, "ill": 4}
    assert [row.path for row in listing.rejects] == [f"ill/{mask}"]


def test_files_named_like_another_of_their_class_are_told(tmp_path):
    make_folders(tmp_path)
    write_image(tmp_path / "ill/thumbnails/p0_0.png", 9)
    write_image(tmp_path / "ill/P0_1.jpg", 10)
    for number, name in enumerate(["ill/patient1/1.png", "ill/patient2/1.png", "healthy/p1_2.jpg"]):
        write_image(tmp_path / name, 20 + number)
    (note,) = list_dataset(tmp_path, FOLDERS).notes
    assert note.startswith(
        "3 files are named like another one of their class, such as 'healthy/p1_2.jpg', 'healthy/p1_2"
    )
    skip = ("thumbnails", "*.jpg")
    assert not list_dataset(tmp_path, replace(FOLDERS, skip=skip)).notes


def test_masks_are_found_whatever_the_images_suffix(tmp_path):
    settings = make_covid(tmp_path)
    for path in (tmp_path / "COVID-19_Radiography_Dataset/COVID/images").iterdir():
        path.rename(path.with_suffix(".PNG"))
    assert len(list_dataset(tmp_path, settings).regions) == 4


@pytest.mark.parametrize("pattern", ["*-2.*", "covid/IMAGES/covid-2.png", "COVID/images/COVID-2.png"])
def test_skip_takes_names_paths_and_globs(tmp_path, pattern):
    settings = replace(make_covid(tmp_path), skip=(f"*/{pattern}" if "/" in pattern else pattern,))
    listing = list_dataset(tmp_path, settings)
    assert "COVID-2" not in {each.image_id for each in listing.candidates}
    assert f"{settings.skip[0]!r} is left out (skip)" in {row.reason for row in listing.rejects}


@pytest.mark.parametrize("name", MAKERS)
def test_every_reader_takes_skip(name, tmp_path):
    settings = MAKERS[name](tmp_path)
    last = list_dataset(tmp_path, settings).candidates[-1].path
    listing = list_dataset(tmp_path, replace(settings, skip=(last,)))
    assert last not in {each.path for each in listing.candidates}
    assert [row.reason for row in listing.rejects if row.path == last] == [f"{last!r} is left out (skip)"]
    assert listing.listed_missing == list_dataset(tmp_path, settings).listed_missing  # left out is not missing


def test_every_published_reader_takes_classes(tmp_path):
    covid, kermany, nih = (tmp_path / name for name in ("covid", "kermany", "nih"))
    for folder, make, classes, counts in (
        (covid, make_covid, {"Normal": "healthy", "Lung_Opacity": "opacity"}, {"healthy": 4, "opacity": 4}),
        (
            kermany,
            make_kermany,
            {"bacterial": "pneumonia", "viral": "pneumonia", "normal": "no"},
            {"pneumonia": 6, "no": 5},
        ),
        (nih, make_nih, {"Cardiomegaly": "heart", "No Finding": "no"}, {"heart": 2, "no": 2}),
    ):
        assert labels_of(list_dataset(folder, replace(make(folder), classes=classes))) == counts
    listing = list_dataset(nih, replace(make_nih(nih), classes={"Mass": "spot", "Nodule": "spot", "Effusion": "water"}))
    assert labels_of(listing) == {"spot": 2, "water": 1}
    with pytest.raises(CxrflowError, match="classes: 'Tumour' is no finding of this set; known: No Finding"):
        list_dataset(nih, replace(make_nih(nih), classes={"Tumour": "t", "Mass": "m"}))


@pytest.mark.parametrize("root", ["", "chest_xray/"])
def test_a_tree_with_a_split_is_not_taken_for_classes(tmp_path, root):
    for number, path in enumerate(["train/NORMAL/a.png", "test/NORMAL/b.png", "train/SICK/c.png", "val/SICK/d.png"]):
        write_image(tmp_path / root / path, number)
    message = r'`classes: {"NORMAL": "NORMAL", "SICK": "SICK"}`'
    with pytest.raises(CxrflowError, match=message) as raised:
        list_dataset(tmp_path, FOLDERS)
    assert root or "looks like a part of a split" in str(raised.value)
    assert root or "split.source: published" in str(raised.value)
    listing = list_dataset(tmp_path, replace(FOLDERS, classes={"NORMAL": "NORMAL", "SICK": "SICK"}))
    assert {each.path.removeprefix(root): each.part for each in listing.candidates} == {
        "train/NORMAL/a.png": "train",
        "test/NORMAL/b.png": "test",
        "train/SICK/c.png": "train",
        "val/SICK/d.png": "val",
    }


def test_folders_that_hold_the_same_folders_are_not_taken_for_classes(tmp_path):
    for number, path in enumerate(["site a/images/SICK", "site a/NORMAL", "site b/SICK", "site b/NORMAL"]):
        write_image(tmp_path / path / "x.png", number)
    message = r"folders of all hold 'NORMAL', 'SICK': .*{\"NORMAL\": .*{\"site a\": \"site a"
    with pytest.raises(CxrflowError, match=message):
        list_dataset(tmp_path, FOLDERS)
    for names in ("SICK", "NORMAL"), ("site a", "site b"):
        chosen = list_dataset(tmp_path, replace(FOLDERS, classes=dict(zip(names, names, strict=True))))
        assert labels_of(chosen) == dict.fromkeys(names, 2)


def test_folders_of_patients_may_be_in_every_class(tmp_path):
    for number, path in enumerate(["ill/p1", "ill/p2", "well/p1", "well/p2"]):
        write_image(tmp_path / path / "x.png", number)
    assert labels_of(list_dataset(tmp_path, FOLDERS)) == {"ill": 2, "well": 2}


def test_a_class_without_any_image_is_told(tmp_path):
    make_folders(tmp_path / "folders")
    (tmp_path / "folders/gone").mkdir()
    assert list_dataset(tmp_path / "folders", FOLDERS).notes == ["no image at all in the folder(s) 'gone'"]
    covid, kermany = make_covid(tmp_path), make_kermany(tmp_path / "kermany")
    for path in (tmp_path / "COVID-19_Radiography_Dataset/Normal/images").iterdir():
        path.unlink()
    assert "no image at all of the class(es) 'Normal'" in list_dataset(tmp_path, covid).notes
    for path in (tmp_path / "kermany").rglob("*virus*"):
        path.unlink()
    assert "no image at all of the class(es) 'viral'" in list_dataset(tmp_path / "kermany", kermany).notes


def test_nih_files_in_another_format_are_named(tmp_path):
    settings = make_nih(tmp_path)
    for path in tmp_path.glob("images*/images/*.png"):
        path.rename(path.with_suffix(".PNG"))
    with pytest.raises(CxrflowError, match=r"8 listed images .* such as '00000001_000\.png' from '00000001_000\.PNG'"):
        list_dataset(tmp_path, settings)


def test_folders_that_say_how_files_are_stored_are_no_classes(tmp_path):
    for number, path in enumerate(["images_001/a.png", "images_002/b.png"]):
        write_image(tmp_path / path, number)
    with pytest.raises(CxrflowError, match=r"'images_001', 'images_002' says? how files are stored.*`skip`"):
        list_dataset(tmp_path, FOLDERS)


def test_a_class_folder_that_links_to_another_is_told(tmp_path):
    make_folders(tmp_path)
    (tmp_path / "linked").symlink_to(tmp_path / "ill")
    assert list_dataset(tmp_path, FOLDERS).notes == [
        "'linked': linked to folders that are read already, and not read again"
    ]
    os.rename(tmp_path / "healthy", tmp_path.parent / f"{tmp_path.name}-healthy")
    with pytest.raises(
        CxrflowError, match=r"has ill \(4 images\), and a classifier needs two.*Note: 'linked': linked to"
    ):
        list_dataset(tmp_path, FOLDERS)


def test_the_tables_that_are_passed_over_are_named(tmp_path):
    settings = make_nih(tmp_path)
    for name, copy in (
        ("Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv"),
        ("BBox_List_2017.csv", "BBox_List_2017_Official_NIH.csv"),
    ):
        (tmp_path / copy).write_text((tmp_path / name).read_text())
    write_image(tmp_path / "images/00000005_000.png", 40)
    assert list_dataset(tmp_path, settings).notes == [
        "Data_Entry_2017.csv is read, and Data_Entry_2017_v2020.csv is passed over: move the former away to read the"
        " latter",
        "1 files are there twice by name, and one is read: not 'images_002/images/00000005_000.png'",
        "BBox_List_2017.csv is read, and BBox_List_2017_Official_NIH.csv is passed over: move the former away to read"
        " the latter",
        "1 image files lie where this layout has none and are not read, in 'images_002/images'",
        NOT_HERE,
    ]


def test_the_box_list_under_its_other_name_and_with_blank_lines(tmp_path):
    settings = make_nih(tmp_path)
    (tmp_path / "BBox_List_2017.csv").rename(tmp_path / "BBox_List_2017_Official_NIH.csv")
    with (tmp_path / "BBox_List_2017_Official_NIH.csv").open("a") as handle:
        handle.write("\n,,,,,,,,\n\n")
    whole = (tmp_path / "BBox_List_2017_Official_NIH.csv").read_text()
    listing = list_dataset(tmp_path, settings)
    assert [row.image_id for row in listing.regions] == ["00000005_000"]
    assert listing.notes == [NOT_HERE]
    for row, message in (
        ("Mass,1,2", "line 7: expected file"),
        ("infiltrate,1,2,3,4", "line 7: unknown finding 'infil"),
    ):
        (tmp_path / "BBox_List_2017_Official_NIH.csv").write_text(f"{whole}00000005_000.png,{row}\n")
        with pytest.raises(CxrflowError, match=message):
            list_dataset(tmp_path, settings)


def test_no_box_that_counts_is_told(tmp_path):
    settings = make_nih(tmp_path)
    header = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
    (tmp_path / "BBox_List_2017.csv").write_text(f"{header}00000005_000.png,Mass,1,2,3,4,,,\n")
    assert (
        "no box of BBox_List_2017.csv is of an image and class that are kept" in list_dataset(tmp_path, settings).notes
    )
    (tmp_path / "BBox_List_2017.csv").unlink()
    assert list_dataset(tmp_path, settings).notes == [
        "BBox_List_2017.csv is not there, so no image has a box",
        NOT_HERE,
    ]


@pytest.mark.parametrize(
    ("make", "place"), [(make_covid, "Extra"), (make_kermany, "chest_xray/train/COVID"), (make_nih, "more")]
)
def test_images_where_the_layout_has_none_are_told(tmp_path, make, place):
    settings = make(tmp_path)
    write_image(tmp_path / place / "x.png", 50)
    (note,) = [note for note in list_dataset(tmp_path, settings).notes if note != NOT_HERE]
    assert "image files lie where this layout has none" in note
    assert repr(place) in note


def test_files_that_the_csv_does_not_list_are_counted(tmp_path):
    settings = make_csv(tmp_path)
    write_image(tmp_path / "films/unlisted.png", 9)
    reasons = {row.path: row.reason for row in list_dataset(tmp_path, settings).rejects}
    assert reasons["films/unlisted.png"] == "the table does not list this file"


def test_a_pattern_that_is_not_used_is_told(tmp_path):
    settings = replace(make_nih(tmp_path), patient_pattern=r"(?P<patient>\d+)")
    assert "patient_pattern is not used: the dataset names its patients" in list_dataset(tmp_path, settings).notes
