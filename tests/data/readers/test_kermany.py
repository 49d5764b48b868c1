from collections import Counter, defaultdict

import pytest

from cxrflow.config.settings import DatasetSettings
from cxrflow.data.readers import list_dataset
from cxrflow.data.readers.kermany import parse_name
from tests.data.toy import make_kermany, real_data, write_image

SETTINGS = DatasetSettings(reader="kermany", folder="pneumonia")


@pytest.mark.parametrize(
    ("stem", "label", "patient"),
    [
        ("person123_bacteria_4", "bacterial", "bacteria-123"),
        ("person123_virus_2", "viral", "virus-123"),
        ("person447_virus_921_1", "viral", "virus-447"),
        ("IM-0115-0001", "normal", "IM-115"),
        ("IM-0115-0001-0002", "normal", "IM-115"),
        ("NORMAL2-IM-0115-0001", "normal", "NORMAL2-IM-115"),
        ("NORMAL2-IM-0382-0001-0002", "normal", "NORMAL2-IM-382"),
        ("BACTERIA-7422-0001", "bacterial", "7422"),
        ("VIRUS-7422-0002", "viral", "7422"),
        ("NORMAL-28501-0001", "normal", "28501"),
    ],
)
def test_published_names(stem, label, patient):
    assert parse_name(stem) == (label, patient)


@pytest.mark.parametrize("stem", ["scan", "person_bacteria_1", "IM-x", "COVID-12-0001", ""])
def test_other_names_are_not_guessed(stem):
    assert parse_name(stem) is None


def test_second_copy_and_litter_are_ignored(tmp_path):
    make_kermany(tmp_path)
    listing = list_dataset(tmp_path, SETTINGS)
    assert Counter(each.label for each in listing.candidates) == {"bacterial": 4, "viral": 2, "normal": 5}
    assert not listing.rejects
    assert not [each for each in listing.candidates if "chest_xray/chest_xray" in each.path]


def test_only_the_second_copy_is_there(tmp_path):
    make_kermany(tmp_path / "all")
    (tmp_path / "some/chest_xray").mkdir(parents=True)
    (tmp_path / "all/chest_xray/chest_xray").rename(tmp_path / "some/chest_xray/chest_xray")
    assert len(list_dataset(tmp_path / "some", SETTINGS).candidates) == 11


def test_a_patient_is_one_across_parts_and_two_across_kinds(tmp_path):
    make_kermany(tmp_path)
    patients = defaultdict(set)
    for each in list_dataset(tmp_path, SETTINGS).candidates:
        patients[each.patient_id].add(each.image_id)
    assert patients["bacteria-1"] == {
        "train/person1_bacteria_1",
        "train/person1_bacteria_2",
        "test/person1_bacteria_9",
    }
    assert patients["virus-1"] == {"train/person1_virus_4"}
    assert patients["IM-115"] == {"train/IM-0115-0001"}
    assert len(patients["IM-117"]) == 2


def test_names_against_their_folder_are_left_out(tmp_path):
    make_kermany(tmp_path)
    write_image(tmp_path / "chest_xray/train/NORMAL/person9_virus_9.jpeg", 1)
    write_image(tmp_path / "chest_xray/train/PNEUMONIA/holiday.jpeg", 2)
    listing = list_dataset(tmp_path, SETTINGS)
    assert sorted(row.path.rsplit("/", 1)[1] for row in listing.rejects) == ["holiday.jpeg", "person9_virus_9.jpeg"]
    assert len(listing.candidates) == 11


@pytest.mark.slow
def test_real_images_number_patients_as_the_docstring_says():
    listing = list_dataset(real_data("pneumonia"), SETTINGS)
    assert Counter(each.label for each in listing.candidates) == {"bacterial": 2772, "viral": 1493, "normal": 1575}
    parts = defaultdict(set)
    for each in listing.candidates:
        parts[each.patient_id].add(each.source)
    assert len(parts) == 4082
    assert not [name for name, found in parts.items() if len(found) > 1]
