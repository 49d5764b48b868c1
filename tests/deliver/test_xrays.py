import os
from collections import Counter
from pathlib import Path

import pytest

from cxrflow.config.settings import PreprocessSettings
from cxrflow.deliver.tool import read_xray
from cxrflow.deliver.xrays import find_xrays
from tests.data.toy import refuse_to_open
from tests.deliver.conftest import N_FILES

SETTINGS = PreprocessSettings(size_px=18, blur_px=3)


def test_files_come_as_they_are_and_folders_sorted(folder: Path) -> None:
    found = [*find_xrays([folder / "05.png", folder, folder / "none.png"])]
    assert found[0] == folder / "05.png"
    assert found[1:-1] == sorted(found[1:-1])
    assert len(found) == N_FILES + 2
    assert folder / "below/03.png" in found
    assert folder / "notes.txt" not in found
    assert found[-1] == folder / "none.png"


def test_masks_below_a_folder_are_counted_and_not_answered(folder: Path) -> None:
    (folder / "lung masks").mkdir()
    for name in ("lung masks/03.png", "00_mask.png"):
        (folder / name).write_bytes((folder / "00.png").read_bytes())
    others: Counter[str] = Counter()
    assert len([*find_xrays([folder], others)]) == N_FILES
    assert others == {".txt": 1, "masks, by their names": 2}
    assert len([*find_xrays([folder / "lung masks", folder / "00_mask.png"])]) == 2  # named by the user


def test_a_folder_that_cannot_be_opened_is_named_and_the_rest_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "films/closed").mkdir(parents=True)
    (tmp_path / "films/one.png").touch()
    refuse_to_open(monkeypatch, tmp_path / "films/closed")
    monkeypatch.setattr(os, "listdir", os.scandir)
    found = [*find_xrays([tmp_path / "films"])]
    assert found == [tmp_path / "films/one.png", tmp_path / "films/closed"]
    assert read_xray(found[1], PreprocessSettings(32), 100) == "it cannot be opened: Permission denied"
