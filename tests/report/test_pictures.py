import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from cxrflow.errors import CxrflowError
from cxrflow.files.provenance import record_path, save_record
from cxrflow.report.pictures import MAX_WIDTH_PX, embed_chart, embed_gallery


def test_chart_is_the_file_as_it_is(tmp_path: Path):
    Image.new("RGB", (300, 200)).save(tmp_path / "a.png")
    picture = embed_chart(tmp_path / "a.png", "alt")
    assert base64.b64decode(picture.uri.partition(",")[2]) == (tmp_path / "a.png").read_bytes()
    assert (picture.width, picture.height, picture.alt) == (300, 200, "alt")


@pytest.mark.parametrize(
    ("size", "shown"), [((4000, 1000), (MAX_WIDTH_PX, MAX_WIDTH_PX // 4)), ((640, 480), (640, 480))]
)
def test_only_a_wide_gallery_is_made_smaller_and_keeps_its_shape(
    tmp_path: Path, size: tuple[int, int], shown: tuple[int, int]
):
    Image.new("RGBA", size, (200, 30, 30, 255)).save(tmp_path / "a.png")
    picture = embed_gallery(tmp_path / "a.png", "alt")
    image = Image.open(io.BytesIO(base64.b64decode(picture.uri.partition("base64,")[2])))
    assert image.size == (picture.width, picture.height) == shown
    assert image.convert("RGB").getpixel((5, 5)) == pytest.approx((200, 30, 30), abs=6)


def test_comments_in_a_file_do_not_travel(tmp_path: Path):
    Image.new("RGB", (20, 20)).save(tmp_path / "a.jpg", comment=b"patient name")
    assert b"patient name" not in base64.b64decode(embed_gallery(tmp_path / "a.jpg", "alt").uri.partition(",")[2])


@pytest.mark.parametrize("embed", [embed_chart, embed_gallery])
def test_missing_and_broken_files_are_named(tmp_path: Path, embed):
    with pytest.raises(CxrflowError, match=r"a\.png does not exist"):
        embed(tmp_path / "a.png", "alt")
    (tmp_path / "a.png").write_bytes(b"<html>")
    with pytest.raises(CxrflowError, match="is not a picture"):
        embed(tmp_path / "a.png", "alt")


@pytest.mark.parametrize("embed", [embed_chart, embed_gallery])
def test_another_picture_than_the_stage_drew_is_refused(tmp_path: Path, embed):
    path = tmp_path / "a.png"
    Image.new("L", (4, 4)).save(path)
    save_record(record_path(path), {"stage": "score", "outputs": {"a.png": "0" * 64}})
    with pytest.raises(CxrflowError, match=r"a\.png was changed or damaged after score made it"):
        embed(path, "alt")
