from dataclasses import replace

import pytest

from cxrflow.config.settings import DatasetSettings
from cxrflow.data.readers import list_dataset
from cxrflow.errors import CxrflowError
from tests.data.toy import make_covid, make_csv, make_folders, make_nih, write_image


def test_masks_replace_boxes_and_leave_other_regions(tmp_path):
    settings = make_nih(tmp_path)
    write_image(tmp_path / "masks/00000005_000.png", 1)
    write_image(tmp_path / "masks/00000003_001.png", 2)
    write_image(tmp_path / "masks/of_nothing.png", 3)
    listing = list_dataset(tmp_path, replace(settings, lesion_masks="masks/"))
    assert sorted((row.image_id, row.kind, row.mask_path) for row in listing.regions) == [
        ("00000003_001", "lesion", "masks/00000003_001.png"),
        ("00000005_000", "lesion", "masks/00000005_000.png"),
    ]


def test_lesion_masks_beside_lung_masks(tmp_path):
    settings = make_covid(tmp_path)
    write_image(tmp_path / "lesion_masks/COVID-1.png", 1)
    listing = list_dataset(tmp_path, replace(settings, lesion_masks="lesion_masks"))
    assert sorted(row.kind for row in listing.regions if row.image_id == "COVID-1") == ["lesion", "lungs"]


@pytest.mark.parametrize("masks", ["nowhere", "COVID-19_Radiography_Dataset/Normal/masks"])
def test_masks_that_fit_no_image(tmp_path, masks):
    settings = make_covid(tmp_path)
    with pytest.raises(CxrflowError, match=r"\(lesion_masks\) has no mask named like an image: .* it does not exist"):
        list_dataset(tmp_path, replace(settings, lesion_masks=masks))


def test_a_missing_folder_says_what_to_put_there(tmp_path):
    settings = DatasetSettings(reader="nih", folder="x")
    with pytest.raises(CxrflowError, match=r"not a folder: put Data_Entry_2017\.csv and images_001/"):
        list_dataset(tmp_path / "x", settings)


def test_an_unknown_reader_names_the_known_ones(tmp_path):
    with pytest.raises(CxrflowError, match="known: covid_radiography, kermany, nih, folders, csv"):
        list_dataset(tmp_path, DatasetSettings(reader="nhi", folder="x"))


def test_one_class_is_no_dataset(tmp_path):
    settings = make_folders(tmp_path)
    with pytest.raises(CxrflowError, match=r"has ill \(4 images\), and a classifier needs two"):
        list_dataset(tmp_path, replace(settings, classes={"ill": "ill"}))


def test_two_files_of_one_name(tmp_path):
    settings = make_covid(tmp_path)
    write_image(tmp_path / "COVID-19_Radiography_Dataset/COVID/images/COVID-1.jpg", 1)
    with pytest.raises(CxrflowError, match=r"COVID-1\.\w+ and .*COVID-1\.\w+ would both be image 'COVID-1'"):
        list_dataset(tmp_path, settings)


def test_a_dataset_whose_files_are_all_missing(tmp_path):
    settings = make_csv(tmp_path)
    for path in (tmp_path / "films").rglob("*.png"):
        path.unlink()
    with pytest.raises(CxrflowError, match=r"5 of the listed images have no file.*first .* is 'films/a.png' in line 2"):
        list_dataset(tmp_path, settings)
