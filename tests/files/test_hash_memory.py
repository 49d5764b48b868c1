"""What is remembered from one run to the next, and what is worked out anew."""

from pathlib import Path

import pytest

from cxrflow.files.hash_memory import HashMemory


def work_nothing_out() -> str:
    raise AssertionError("this was to be remembered")


def test_a_hash_is_worked_out_once(tmp_path: Path) -> None:
    assert HashMemory(tmp_path / "memory.json", "state").recall("train", lambda: "abc") == "abc"
    memory = HashMemory(tmp_path / "memory.json", "state")
    assert memory.recall("train", work_nothing_out) == "abc"
    assert memory.recall("score", lambda: "def") == "def"
    assert HashMemory(tmp_path / "memory.json", "state").recall("train", work_nothing_out) == "abc"


def test_another_state_is_worked_out_anew(tmp_path: Path) -> None:
    HashMemory(tmp_path / "memory.json", "before").recall("train", lambda: "abc")
    assert HashMemory(tmp_path / "memory.json", "after").recall("train", lambda: "def") == "def"


@pytest.mark.parametrize("content", ["", '{"state": "state", "hash', "[]", "\xff"])
def test_a_file_cut_short_is_as_good_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "memory.json").write_bytes(content.encode("latin-1"))
    assert HashMemory(tmp_path / "memory.json", "state").recall("train", lambda: "abc") == "abc"
    assert HashMemory(tmp_path / "memory.json", "state").recall("train", work_nothing_out) == "abc"


def test_without_a_folder_nothing_is_kept(tmp_path: Path) -> None:
    for value in ("abc", "def"):
        memory = HashMemory(tmp_path / "nowhere" / "memory.json", "state")
        assert memory.recall("train", lambda value=value: value) == value
    assert not (tmp_path / "nowhere").exists()


def test_nothing_is_left_beside_the_file(tmp_path: Path) -> None:
    HashMemory(tmp_path / "memory.json", "state").recall("train", lambda: "abc")
    assert [path.name for path in tmp_path.iterdir()] == ["memory.json"]
