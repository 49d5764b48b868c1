"""Which files count as images, and that every other one is counted."""

import errno
import os
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from cxrflow.config.settings import IndexSettings
from cxrflow.config.stages import explain_error
from cxrflow.data.indexing import CONTROLS, build_index
from cxrflow.data.readers.base import describe_others, escape_name, image_names, is_image, walk_images
from cxrflow.errors import CxrflowError
from tests.data.test_image_formats import save
from tests.data.toy import draw, encode, make_folders

PICTURE = Image.fromarray(draw(1, 32))
KINDS = ("PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP", "PPM", "JPEG2000", "AVIF")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_without_a_telling_suffix_is_an_image_if_it_begins_like_one(kind: str, tmp_path: Path) -> None:
    for name in ("scan", "1.2.840.113", "scan.IMG"):
        (tmp_path / name).write_bytes(save(PICTURE, kind))
        assert is_image(tmp_path / name), name
    (tmp_path / "scan.bak").write_bytes(save(PICTURE, kind))
    assert not is_image(tmp_path / "scan.bak")


def test_dicom_without_a_suffix_is_found_and_text_is_not(tmp_path: Path) -> None:
    (tmp_path / "IM0001").write_bytes(bytes(128) + b"DICM" + bytes(9))
    (tmp_path / "IM0002").write_bytes(b"\x02\0\0\0UL\x04\0")  # without its preamble
    (tmp_path / "list").write_text("P1 is the first patient")
    (tmp_path / "readme").write_text("BMI of every patient")
    (tmp_path / "none").touch()
    os.mkfifo(tmp_path / "pipe")  # never opened: nobody writes into it
    others: Counter[str] = Counter()
    assert walk_images(tmp_path, others=others) == ["IM0001", "IM0002"] == image_names(tmp_path)
    assert others == {"": 4}


def test_rarer_suffixes_are_indexed_and_the_rest_is_counted_by_suffix(tmp_path: Path) -> None:
    settings = make_folders(tmp_path)
    kept = {"a.jfif": "JPEG", "b.jpe": "JPEG", "c.pgm": "PPM", "d.jp2": "JPEG2000", "e.AVIF": "AVIF", "f": "PNG"}
    for number, (name, kind) in enumerate(kept.items()):
        (tmp_path / "ill" / name).write_bytes(save(Image.fromarray(draw(40 + number, 32)), kind))
    for name in ("notes.txt", "more.txt", "Thumbs.db", "volume.mhd", "LICENSE"):
        (tmp_path / "ill" / name).write_text("no image")
    index = build_index(tmp_path, settings, IndexSettings(), threads=1)
    assert {row.path for row in index.rows} > {f"ill/{name}" for name in kept}
    assert "files that are no images: 1 without suffix, 1 .db, 1 .mhd, 2 .txt" in index.notes


def test_thumbnails_of_a_file_server_are_litter_and_a_file_left_in_a_cloud_is_not(tmp_path: Path) -> None:
    settings = make_folders(tmp_path)
    (tmp_path / "ill/@eaDir/p0_0.png").mkdir(parents=True)
    (tmp_path / "ill/@eaDir/p0_0.png/SYNOPHOTO_THUMB_M.jpg").write_bytes(save(PICTURE, "JPEG"))
    (tmp_path / "ill/.p9_0.png.icloud").write_bytes(b"bplist00")
    index = build_index(tmp_path, settings, IndexSettings(), threads=1)
    assert len(index.rows) == 8
    assert index.notes == ["files that are no images: 1 .icloud"]


def test_a_dataset_of_images_alone_has_no_such_note(tmp_path: Path) -> None:
    assert describe_others(Counter()) == ""
    assert build_index(tmp_path, make_folders(tmp_path), IndexSettings(), threads=1).notes == []


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("café.png", "café.png"),
        ("a\x1b[31mred\x07.png", "a\\x1b[31mred\\x07.png"),
        ("two\nlines\t.png", "two\\nlines\\t.png"),
        ("gnp.\u202eexe", "gnp.\\u202eexe"),
        (os.fsdecode(b"caf\xe9.png"), "caf\\xe9.png"),
    ],
)
def test_a_name_on_a_terminal_is_one_line_without_commands(name: str, shown: str) -> None:
    assert escape_name(name) == shown


def test_a_name_with_commands_opens_its_file_and_is_shown_without_them(tmp_path: Path) -> None:
    settings = make_folders(tmp_path)
    (tmp_path / "ill/\x1b[2J.png").write_bytes(encode(draw(70, 32)))
    (tmp_path / "ill/\x1b[3J.png").write_bytes(b"")
    index = build_index(tmp_path, settings, IndexSettings(max_rejected_share=0.5), threads=1)
    assert "ill/\x1b[2J.png" in {row.path for row in index.rows}
    assert [row.path for row in index.rejects] == ["ill/\\x1b[3J.png"]


def test_a_class_with_commands_in_its_name_is_refused(tmp_path: Path) -> None:
    """Every stage and the page show it."""
    settings = make_folders(tmp_path)
    (tmp_path / "ill").rename(tmp_path / "\x1b[31mill")
    with pytest.raises(CxrflowError) as raised:
        build_index(tmp_path, settings, IndexSettings(max_rejected_share=0.5), threads=1)
    assert rf"no image of class \x1b[31mill is left. unreadable: {CONTROLS}" in str(raised.value)


def test_a_message_gives_a_terminal_no_commands() -> None:
    assert explain_error(CxrflowError("\x1b[2J.png:\n  is gone")) == "\\x1b[2J.png:\n  is gone"
    assert "\x1b" not in str(explain_error(OSError(errno.ENOSPC, "full", "\x1b[2J.png")))
