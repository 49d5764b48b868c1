import pytest

from cxrflow.config.settings import DatasetSettings
from cxrflow.data.readers import list_dataset
from cxrflow.errors import CxrflowError
from tests.data.toy import make_folders, write_image


def settings(**keys):
    return DatasetSettings(reader="folders", folder="data", **keys)


def test_every_folder_is_a_class(tmp_path):
    make_folders(tmp_path, per_class=2)
    write_image(tmp_path / "stray.png", 7)
    listing = list_dataset(tmp_path, settings())
    assert {each.path: each.label for each in listing.candidates} == {
        "healthy/p0_0.png": "healthy",
        "healthy/p0_1.png": "healthy",
        "ill/p0_0.png": "ill",
        "ill/p0_1.png": "ill",
    }
    assert [row.path for row in listing.rejects] == ["stray.png"]
    assert [each.patient_id for each in listing.candidates] == [each.path for each in listing.candidates]


def test_named_classes_below_other_folders(tmp_path):
    for number, path in enumerate(["train/NORMAL/a.png", "test/NORMAL/b.png", "train/SICK/c.jpg", "train/OTHER/d.png"]):
        write_image(tmp_path / path, number)
    listing = list_dataset(tmp_path, settings(classes={"NORMAL": "normal", "SICK": "pneumonia"}))
    assert {each.path: (each.label, each.source) for each in listing.candidates} == {
        "train/NORMAL/a.png": ("normal", "train"),
        "test/NORMAL/b.png": ("normal", "test"),
        "train/SICK/c.jpg": ("pneumonia", "train"),
    }
    assert [row.path for row in listing.rejects] == ["train/OTHER/d.png"]


def test_two_folders_may_be_one_class(tmp_path):
    make_folders(tmp_path, per_class=2)
    write_image(tmp_path / "worse/x.png", 9)
    listing = list_dataset(tmp_path, settings(classes={"healthy": "no", "ill": "yes", "worse": "yes"}))
    assert [each.label for each in listing.candidates].count("yes") == 3


def test_a_class_without_images(tmp_path):
    make_folders(tmp_path)
    with pytest.raises(CxrflowError, match=r"no image of the class\(es\) covid.*'COVID'.*it holds healthy/, ill/"):
        list_dataset(tmp_path, settings(classes={"healthy": "normal", "COVID": "covid"}))


def test_the_pattern_finds_patients(tmp_path):
    make_folders(tmp_path, per_class=4)
    listing = list_dataset(tmp_path, settings(patient_pattern=r"(?P<patient>p\d+)_"))
    assert {each.patient_id for each in listing.candidates} == {"p0", "p1"}


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(p", "not a regular expression"),
        (r"p\d+", "no group named patient"),
        (r"(?P<patient>q\d+)", "finds no patient in"),
    ],
)
def test_patterns_that_cannot_work(tmp_path, pattern, message):
    make_folders(tmp_path)
    with pytest.raises(CxrflowError, match=message):
        list_dataset(tmp_path, settings(patient_pattern=pattern))


def test_lesion_masks_are_no_images(tmp_path):
    make_folders(tmp_path, per_class=2)
    write_image(tmp_path / "lesion_masks/p0_0.png", 5)
    listing = list_dataset(tmp_path, settings(lesion_masks="lesion_masks"))
    assert {each.label for each in listing.candidates} == {"healthy", "ill"}


def test_awkward_names_and_links(tmp_path):
    make_folders(tmp_path / "real", per_class=1)
    for number, name in enumerate(["with space.png", "quo'te\".png", "a;b.png", "new\nline.png", "ünï.PNG", "-rf.png"]):
        write_image(tmp_path / "real/ill" / name, 50 + number)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/ill").symlink_to(tmp_path / "real/ill")
    (tmp_path / "linked/healthy").symlink_to(tmp_path / "real/healthy")
    (tmp_path / "real/ill/loop").symlink_to(tmp_path / "real/ill")
    listing = list_dataset(tmp_path / "linked", settings())
    assert len(listing.candidates) == 8
    assert "ill/new\nline.png" in {each.path for each in listing.candidates}
