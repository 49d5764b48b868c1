"""What decode_indexed promises: for every file that the index accepts, the pixels that the index saw."""

import io
import struct
import sys
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cxrflow.data import decode as indexed
from cxrflow.data.decode import (
    MIN_SPREAD,
    agrees_with_cv2,
    decode_image,
    decode_indexed,
    load_kornia,
    load_kornia_jpeg,
    read_kind,
)
from cxrflow.data.headers import MIN_SIDE_PX, DecodeError
from tests.data.toy import draw, encode, real_data

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEIGHT, WIDTH = 30, 40  # they differ, so that no decoder can swap them
GRAY = draw(1, size=WIDTH)[:HEIGHT]
RGB = np.random.default_rng(2).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
EQUAL_RGB = np.dstack([GRAY] * 3)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def filter_line(kind: int, line: np.ndarray, above: np.ndarray, step: int) -> bytes:
    """Apply one of PNG's five filters to one line, uint8 (n,), as the specification defines them."""
    left, corner = (np.concatenate([np.zeros(step, int), each[:-step]]) for each in (line, above))
    estimate = left + above - corner
    nearest = np.abs(np.stack([left, above, corner]) - estimate).argmin(axis=0)
    paeth = np.choose(nearest, [left, above, corner])
    guess = [np.zeros_like(left), left, above, (left + above) // 2, paeth][kind]
    return bytes([kind]) + ((line - guess) % 256).astype(np.uint8).tobytes()


def filter_lines(pixels: np.ndarray, kinds: list[int]) -> bytes:
    """Return what a PNG compresses: every line behind its filter's number."""
    step = pixels.shape[2] if pixels.ndim == 3 else 1
    lines = np.vstack([np.zeros(pixels[0].size, int), pixels.reshape(len(pixels), -1)]).astype(int)
    return b"".join(
        filter_line(kinds[number % len(kinds)], lines[number + 1], lines[number], step) for number in range(len(pixels))
    )


def make_png(pixels: np.ndarray, kinds: list[int], stream: bytes = b"", part: int = 1 << 20, between: bytes = b""):
    """Write uint8 (H, W) or (H, W, 3) as a PNG.

    kinds: filters of the lines, in turn; stream: another compressed stream; part: bytes in each IDAT chunk; between:
    chunks after the header.
    """
    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if pixels.ndim == 2 else 2, 0, 0, 0)
    stream = stream or zlib.compress(filter_lines(pixels, kinds))
    body = b"".join(chunk(b"IDAT", stream[place : place + part]) for place in range(0, len(stream), part))
    return SIGNATURE + chunk(b"IHDR", header) + between + body + chunk(b"IEND", b"")


def save(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def check_equal(data: bytes) -> None:
    """Check the promise for one file."""
    np.testing.assert_array_equal(decode_indexed(data), decode_image(data).gray)


def accepts(data: bytes) -> bool:
    try:
        decode_image(data)
    except DecodeError:
        return False
    return True


@pytest.fixture
def only_fast(monkeypatch):
    """Fail where cv2 would have to help."""

    def refuse(*_, **__):
        raise AssertionError("cv2 was asked")

    monkeypatch.setattr(indexed, "decode_image", refuse)


@pytest.mark.parametrize("pixels", [GRAY, EQUAL_RGB, RGB], ids=["gray", "equal channels", "colour"])
@pytest.mark.parametrize("kinds", [[0], [1], [2], [3], [4], [4, 0, 3, 1, 2]])
def test_every_filter_gives_the_pixels_without_cv2(pixels, kinds, only_fast):
    expected = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    expected = GRAY if pixels is EQUAL_RGB else expected
    decoded = decode_indexed(make_png(pixels, kinds))
    np.testing.assert_array_equal(decoded, expected)
    assert (decoded.dtype, decoded.flags.c_contiguous) == (np.uint8, True)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(MIN_SIDE_PX, 70),
    st.integers(MIN_SIDE_PX, 70),
    st.booleans(),
    st.lists(st.integers(0, 4), min_size=1, max_size=6),
    st.integers(0, 9),
    st.integers(1, 400),
    st.integers(MIN_SPREAD, 255),
)
def test_any_good_png_is_equal(height, width, colour, kinds, level, part, most):
    shape = (height, width, 3) if colour else (height, width)
    pixels = np.random.default_rng(height * width).integers(0, most + 1, shape, dtype=np.uint8)
    pixels[0, 0], pixels[-1, -1] = 0, most  # fewer would be refused
    stream = zlib.compress(filter_lines(pixels, kinds), level)
    check_equal(make_png(pixels, kinds, stream, part))


CHUNKS = {
    "gamma": chunk(b"gAMA", struct.pack(">I", 45455)),
    "strong gamma": chunk(b"gAMA", struct.pack(">I", 100000)),
    "sRGB": chunk(b"sRGB", b"\0"),
    "primaries": chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
    "significant bits": chunk(b"sBIT", b"\5"),
    "background": chunk(b"bKGD", b"\0\7"),
    "resolution": chunk(b"pHYs", struct.pack(">IIB", 2835, 1417, 1)),
    "time": chunk(b"tIME", struct.pack(">HBBBBB", 2017, 9, 1, 0, 0, 0)),
    "text": chunk(b"tEXt", b"Comment\0film"),
    "packed text": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"film")),
    "orientation": chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"),
    "unknown": chunk(b"prVt", b"whatever"),
    "colour profile": chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(200))),
    "cut gamma": chunk(b"gAMA", b"\0"),
    "wrong checksum": chunk(b"tEXt", b"Comment\0film")[:-1] + b"?",
    "palette": chunk(b"PLTE", bytes(range(9))),
}


@pytest.mark.parametrize("pixels", [GRAY, RGB], ids=["gray", "colour"])
@pytest.mark.parametrize("name", CHUNKS)
def test_other_chunks_change_both_decoders_alike(name, pixels):
    for between in (CHUNKS[name], CHUNKS[name] * 2, CHUNKS[name] + CHUNKS["time"]):
        data = make_png(pixels, [4], between=between)
        if accepts(data):
            check_equal(data)


OTHERS = {
    "16 bit": encode(GRAY.astype(np.uint16) * 257),
    "16 bit colour": encode(RGB.astype(np.uint16) * 257),
    "1 bit": save(Image.fromarray(GRAY > 99), "PNG"),
    "4 bit": save(Image.fromarray(GRAY // 16), "PNG", bits=4),
    "palette": save(Image.fromarray(GRAY).convert("P"), "PNG"),
    "RGBA": encode(np.dstack([EQUAL_RGB, np.full_like(GRAY, 255)])),
    "LA": save(Image.fromarray(np.dstack([GRAY, np.full_like(GRAY, 255)]), "LA"), "PNG"),
    "jpeg": encode(GRAY, ".jpg"),
    "bmp": encode(GRAY, ".bmp"),
    "tiff": encode(GRAY, ".tiff"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_kinds_are_left_to_cv2(name):
    assert read_kind(OTHERS[name]) is None
    check_equal(OTHERS[name])


def test_an_interlaced_png_is_left_to_cv2():
    data = bytearray(make_png(GRAY, [0]))
    data[28] = 1
    assert read_kind(bytes(data)) is None


@pytest.mark.parametrize("length", [0, 7, 28, 29, 60, 500, -20])
def test_a_cut_file_is_refused(length):
    data = make_png(GRAY, [4])[:length]
    assert not accepts(data)
    with pytest.raises(DecodeError):
        decode_indexed(data)


def odd_streams() -> dict[str, bytes]:
    """Return files whose checksums are right and whose compressed stream is odd."""
    lines = filter_lines(GRAY, [4])
    stream = zlib.compress(lines)
    found = {
        "longer": zlib.compress(lines + bytes(200)),
        "with a tail": stream + b"tail",
        "a line short": zlib.compress(lines[: -WIDTH - 1]),
        "some bytes short": zlib.compress(lines[:-3]),
        "wrong Adler-32": stream[:-1] + bytes([stream[-1] ^ 1]),
        "no Adler-32": stream[:-4],
        "a filter that is none": zlib.compress(b"\7" + lines[1:]),
        "a dictionary": b"\x78\xbb" + stream[2:],
        "a small window": b"\x08\x1d" + stream[2:],
        "stored": zlib.compress(lines, 0),
    }
    files = {name: make_png(GRAY, [4], each) for name, each in found.items()}
    files["trailing bytes"] = make_png(GRAY, [4]) + b"<html>"
    files["two ends"] = make_png(GRAY, [4]) + chunk(b"IEND", b"")
    files["two headers"] = make_png(GRAY, [4], between=make_png(GRAY, [4])[8:33])
    files["an empty part"] = make_png(GRAY, [4], between=chunk(b"IDAT", b""))
    return files


@pytest.mark.parametrize("name", odd_streams())
def test_an_odd_stream_is_refused_by_the_index_or_equal(name):
    data = odd_streams()[name]
    if accepts(data):
        check_equal(data)


def test_the_index_is_stricter_than_the_fast_decoder():
    """So decode_indexed may never judge a file: this one's pixels are damaged behind right checksums of its chunks."""
    data = odd_streams()["wrong Adler-32"]
    assert not accepts(data)
    decode_indexed(data)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_files_are_refused_by_the_index_or_equal(data):
    file = bytearray(make_png(GRAY, [4, 1], part=200, between=CHUNKS["time"] + CHUNKS["gamma"]))
    for _ in range(data.draw(st.integers(1, 3))):
        file[data.draw(st.integers(0, len(file) - 1))] ^= data.draw(st.integers(1, 255))
    if accepts(bytes(file)):
        check_equal(bytes(file))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_behind_right_checksums_is_refused_by_the_index_or_equal(data):
    stream = bytearray(zlib.compress(filter_lines(GRAY, [4, 2])))
    stream[data.draw(st.integers(0, len(stream) - 1))] ^= data.draw(st.integers(1, 255))
    damaged = make_png(GRAY, [4], bytes(stream), part=300)
    if accepts(damaged):
        check_equal(damaged)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["covid", "xray8"])
def test_real_files_are_equal(name):
    files = [path.read_bytes() for path in sorted(real_data(name).rglob("*.png"))[::5]]
    assert any(read_kind(data) for data in files)
    for data in files:
        check_equal(data)


def test_animation_and_transparency_are_left_to_the_index():
    animated = save(Image.fromarray(GRAY), "PNG", save_all=True, append_images=[Image.fromarray(255 - GRAY)])
    transparent = save(Image.fromarray(GRAY), "PNG", transparency=3)
    assert not accepts(animated)
    assert not accepts(transparent)


def test_what_the_fast_decoder_refuses_is_decoded_by_cv2(monkeypatch):
    def refuse(data, height, width):
        raise ValueError("no")

    monkeypatch.setitem(indexed.DECODERS, (8, 0), refuse)
    np.testing.assert_array_equal(decode_indexed(make_png(GRAY, [4])), GRAY)


@pytest.fixture
def fresh():
    """Let the decoders be looked for again, before and after."""
    for load in (load_kornia, load_kornia_jpeg):
        load.cache_clear()
    yield
    for load in (load_kornia, load_kornia_jpeg):
        load.cache_clear()


def test_without_kornia_it_says_so_once_and_gives_the_same_pixels(monkeypatch, capsys, fresh):
    monkeypatch.setitem(sys.modules, "kornia_rs", None)
    monkeypatch.setitem(sys.modules, "kornia_rs.io", None)
    for _ in range(2):
        np.testing.assert_array_equal(decode_indexed(make_png(GRAY, [4])), GRAY)
    assert capsys.readouterr().out.count("`pip install kornia-rs` helps") == 1


@pytest.mark.parametrize(
    "decode",
    [
        lambda data, shape, mode: np.zeros((*shape, 3), np.uint8),
        lambda data, shape, mode: np.zeros((*shape[::-1], 3), np.uint8),
        lambda data, shape: None,
    ],
    ids=["other pixels", "another shape", "other arguments"],
)
def test_a_release_that_differs_is_not_used(monkeypatch, capsys, fresh, decode):
    import kornia_rs.io

    assert not agrees_with_cv2(decode)
    monkeypatch.setattr(kornia_rs.io, "decode_image_png_u8", decode)
    np.testing.assert_array_equal(decode_indexed(make_png(GRAY, [4])), GRAY)
    assert "does not give cv2's pixels" in capsys.readouterr().out


def test_without_kornia_it_says_once_that_damage_in_a_jpeg_goes_unnoticed(monkeypatch, capsys, fresh):
    monkeypatch.setitem(sys.modules, "kornia_rs.io", None)
    for _ in range(2):
        decode_image(encode(GRAY, ".jpg"))
    assert capsys.readouterr().err.count("damage inside JPEG files cannot be noticed") == 1


@pytest.mark.parametrize("decode", [lambda data, mode: None, lambda data: None], ids=["lax", "other arguments"])
def test_a_release_that_finds_no_damage_in_a_jpeg_is_not_trusted(monkeypatch, capsys, fresh, decode):
    import kornia_rs.io

    monkeypatch.setattr(kornia_rs.io, "decode_image_jpegturbo", decode)
    decode_image(encode(GRAY, ".jpg"))
    assert "does not find damage" in capsys.readouterr().err
