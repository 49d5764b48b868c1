from collections import Counter

import pytest

from cxrflow.config.settings import DatasetSettings
from cxrflow.data.readers import list_dataset
from cxrflow.errors import CxrflowError
from tests.data.toy import make_covid, real_data, write_image

SETTINGS = DatasetSettings(reader="covid_radiography", folder="covid")


def test_three_classes_with_masks_and_the_fourth_left_out(tmp_path):
    make_covid(tmp_path, per_class=3)
    listing = list_dataset(tmp_path, SETTINGS)
    assert Counter(each.label for each in listing.candidates) == {"COVID": 3, "Normal": 3, "Viral Pneumonia": 3}
    assert [row.label for row in listing.rejects] == ["Lung_Opacity"] * 3
    assert {region.kind for region in listing.regions} == {"lungs"}
    assert listing.regions[0].mask_path.endswith("COVID/masks/COVID-1.png")
    assert len(listing.regions) == 3


def test_the_folder_itself_may_be_the_published_one(tmp_path):
    make_covid(tmp_path)
    listing = list_dataset(tmp_path / "COVID-19_Radiography_Dataset", SETTINGS)
    assert listing.candidates[0].path == "COVID/images/COVID-1.png"


def test_flat_folders_of_older_releases(tmp_path):
    for number, label in enumerate(["COVID-19", "NORMAL", "Viral Pneumonia"]):
        write_image(tmp_path / label / f"{label} (1).png", number)
    listing = list_dataset(tmp_path, SETTINGS)
    assert [each.label for each in listing.candidates] == ["COVID", "Normal", "Viral Pneumonia"]


def test_a_class_without_its_folder_is_named_in_what_was_expected(tmp_path):
    make_covid(tmp_path)
    (tmp_path / "COVID-19_Radiography_Dataset/Normal").rename(tmp_path / "COVID-19_Radiography_Dataset/Healthy")
    with pytest.raises(CxrflowError, match=r"expected .*Normal/"):
        list_dataset(tmp_path, SETTINGS)


@pytest.mark.slow
def test_real_images():
    listing = list_dataset(real_data("covid"), SETTINGS)
    assert Counter(each.label for each in listing.candidates) == {"COVID": 220, "Normal": 600, "Viral Pneumonia": 120}
