"""Every reader in the table, by the same tests."""

import subprocess
import sys
from pathlib import Path

import pytest

from cxrflow.config.readers import READERS
from cxrflow.data.readers import list_dataset
from cxrflow.data.readers.base import walk_images
from cxrflow.errors import CxrflowError
from tests.data.toy import MAKERS, refuse_to_open


def test_every_reader_has_a_toy_dataset():
    assert set(MAKERS) == set(READERS)


@pytest.mark.parametrize("name", READERS)
def test_lists_existing_files_with_unique_ids(name, tmp_path):
    settings = MAKERS[name](tmp_path / "data")
    listing = list_dataset(tmp_path / "data", settings)
    ids = [each.image_id for each in listing.candidates]
    assert len(ids) > 2
    assert len(set(ids)) == len(ids)
    for each in listing.candidates:
        assert (tmp_path / "data" / each.path).is_file()
        assert each.label
        assert each.patient_id
    for row in listing.rejects:
        assert row.kind in ("selection", "missing")
        assert row.reason
        assert (tmp_path / "data" / row.path).is_file() == (row.kind == "selection")
    for region in listing.regions:
        assert region.image_id in ids
        assert not region.mask_path or (tmp_path / "data" / region.mask_path).is_file()


@pytest.mark.parametrize("name", READERS)
def test_classes_are_the_published_ones(name, tmp_path):
    published = READERS[name].published_counts
    if not published:
        pytest.skip("this reader reads no published set")
    listing = list_dataset(tmp_path / "data", MAKERS[name](tmp_path / "data"))
    assert {each.label for each in listing.candidates} <= set(published)


@pytest.mark.parametrize("name", READERS)
def test_another_layout_is_an_error_that_says_what_is_there(name, tmp_path):
    settings = MAKERS[name](tmp_path / "data")
    other = tmp_path / "other"
    other.mkdir()
    (other / "holiday.txt").write_text("no X-ray")
    with pytest.raises(CxrflowError, match=r"expected .*holiday\.txt"):
        list_dataset(other, settings)


@pytest.mark.parametrize("name", READERS)
def test_layout_completes_a_sentence(name):
    layout = READERS[name].layout
    assert layout
    assert not layout.endswith(".")
    assert layout == layout.strip()


def test_the_table_is_read_without_heavy_libraries():
    code = (
        "import sys, cxrflow.data.readers\n"
        "print([m for m in ('numpy', 'cv2', 'PIL', 'torch', 'pandas') if m in sys.modules])"
    )
    scripts = Path(__file__).parents[3] / "scripts"
    done = subprocess.run([sys.executable, "-c", code], cwd=scripts, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_folder_that_cannot_be_opened_stops_the_walk(tmp_path, monkeypatch):
    (tmp_path / "tb/closed").mkdir(parents=True)
    refuse_to_open(monkeypatch, tmp_path / "tb/closed")
    with pytest.raises(CxrflowError, match=r"tb/closed cannot be opened \(Permission denied\): make it readable"):
        walk_images(tmp_path)


def test_what_a_file_system_keeps_for_itself_is_passed_over(tmp_path, monkeypatch):
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "one.png").touch()
    refuse_to_open(monkeypatch, tmp_path / "lost+found")
    assert walk_images(tmp_path) == ["one.png"]


def test_published_counts_follow_the_classes_of_a_config():
    """Counts of renamed and joined classes follow; where nobody counted, there are none."""
    kermany, nih, covid = (READERS[name] for name in ("kermany", "nih", "covid_radiography"))
    assert all(reader.count_published({}) == reader.published_counts for reader in READERS.values())
    joined = {"bacterial": "pneumonia", "viral": "pneumonia", "normal": "no"}
    assert kermany.count_published(joined) == {"pneumonia": 2780 + 1493, "no": 1583}
    assert covid.count_published({"Normal": "no", "Lung_Opacity": "opacity"}) == {}
    assert nih.count_published({"Mass": "Mass", "Nodule": "Nodule"}) == {}  # Mass with Effusion counts now
    renamed = {name: name.lower() for name in nih.published_counts}
    assert nih.count_published(renamed)["mass"] == 2630
    assert nih.count_published({**renamed, "Nodule": "mass"}) == {}
