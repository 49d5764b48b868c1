import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cxrflow.data.decode import decode_image
from cxrflow.data.headers import DecodeError
from tests.data.toy import draw, encode

GRAY = draw(1, size=40)[:30]  # (30, 40): width and height differ


def save(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header_only(width: int, height: int) -> bytes:
    """Return a PNG whose header promises a huge picture and whose pixels are a few bytes."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0")),
        (b"IEND", b""),
    ]
    body = b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


LOSSLESS = {
    "gray png": (encode(GRAY), "L"),
    "three equal channels": (encode(np.dstack([GRAY] * 3)), "RGB"),
    "opaque RGBA": (encode(np.dstack([GRAY] * 3 + [np.full_like(GRAY, 255)])), "RGBA"),
    "opaque LA": (save(Image.fromarray(np.dstack([GRAY, np.full_like(GRAY, 255)]), "LA"), "PNG"), "LA"),
    "palette": (save(Image.fromarray(GRAY).convert("P"), "PNG"), "P"),
    "tiff": (save(Image.fromarray(GRAY), "TIFF"), "L"),
    "bmp": (encode(GRAY, ".bmp"), "L"),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_formats_give_the_same_pixels(name):
    data, mode = LOSSLESS[name]
    decoded = decode_image(data)
    np.testing.assert_array_equal(decoded.gray, GRAY)
    assert decoded.gray.dtype == np.uint8
    assert (decoded.width, decoded.height, decoded.mode) == (40, 30, mode)


def test_colour_becomes_luminance():
    colour = np.zeros((20, 20, 3), np.uint8)
    colour[5:, :, 2] = 255  # red, in BGR order
    assert (decode_image(encode(colour)).gray[5:] == 76).all()  # 0.299 * 255


def test_one_bit_is_black_and_white():
    assert set(np.unique(decode_image(save(Image.fromarray(GRAY > 99), "PNG")).gray)) == {0, 255}


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_16_bit_files_use_the_whole_range_whatever_the_detectors_depth(bits):
    ramp = np.linspace(0, 2**bits - 1, 1200).astype(np.uint16).reshape(30, 40)
    decoded = decode_image(encode(ramp))
    assert decoded.mode == "I;16"
    np.testing.assert_array_equal(decoded.gray, np.round(ramp * (255 / (2**bits - 1))))
    assert (decoded.gray.min(), decoded.gray.max()) == (0, 255)


def test_16_bit_colour_of_equal_channels():
    deep = np.dstack([GRAY.astype(np.uint16) * 257] * 3)
    np.testing.assert_array_equal(decode_image(encode(deep)).gray, GRAY)


BIG = draw(2, size=256)
REFUSED = {
    "empty": (b"", "empty"),
    "web page": (b"\n<!DOCTYPE html><html>404</html>", "web page"),
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    "dicom": (bytes(128) + b"DICM" + bytes(500), "DICOM"),
    "dicom without a preamble": (b"\x08\0\x00\0\x04\0\0\0" + bytes(50), "DICOM"),
    "text": (b"hello", "not an image"),
    "half a jpeg": (encode(BIG, ".jpg")[:9000], "truncated"),
    "half a png": (encode(BIG)[:30000], "truncated"),
    "png without its end": (encode(BIG)[:-30], "truncated"),
    "png cut in its header": (encode(BIG)[:20], "not an image|header"),
    "damaged png": (encode(BIG)[:999] + b"\xff\x00\xff" + encode(BIG)[1002:], "truncated or damaged"),
    "bomb": (png_header_only(30000, 30000), "more than 100 megapixels"),
    "animation": (
        save(Image.fromarray(GRAY), "PNG", save_all=True, append_images=[Image.fromarray(255 - GRAY)]),
        "animated",
    ),
    "pages": (save(Image.fromarray(GRAY), "TIFF", save_all=True, append_images=[Image.fromarray(GRAY)]), "pages"),
    "float": (save(Image.fromarray(GRAY.astype(np.float32)), "TIFF"), "mode F"),
    "cmyk": (save(Image.fromarray(GRAY).convert("CMYK"), "JPEG"), "mode CMYK"),
    "transparent": (encode(np.dstack([GRAY] * 3 + [GRAY])), "transparent"),
    "transparent palette": (
        save(Image.fromarray(GRAY).convert("P"), "PNG", transparency=int(GRAY[0, 0])),
        "transparent",
    ),
    "transparent gray": (save(Image.fromarray(GRAY), "PNG", transparency=3), "transparent"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_a_reason(name):
    data, reason = REFUSED[name]
    with pytest.raises(DecodeError, match=reason):
        decode_image(data)


def test_the_limit_is_a_setting():
    with pytest.raises(DecodeError, match=r"more than 0\.001 megapixels \(max_image_mpx\)"):
        decode_image(encode(GRAY), max_mpx=0.001)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(encode(GRAY)) - 1), st.integers(1, 255))
def test_a_damaged_png_is_refused_or_unchanged(position, flip):
    data = bytearray(encode(GRAY))
    data[position] ^= flip
    try:
        decoded = decode_image(bytes(data))
    except DecodeError:
        return
    np.testing.assert_array_equal(decoded.gray, GRAY)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_give_a_reason_and_nothing_else(data):
    for start in (b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"GIF89a", b"BM", b"RIFF\0\0\0\0WEBP"):
        with pytest.raises(DecodeError):
            decode_image(start + data)


def test_decoders_agree_on_a_good_jpeg():
    smooth = cv2.GaussianBlur(BIG, (0, 0), 8)
    data = encode(smooth, ".jpg")
    np.testing.assert_array_equal(decode_image(data).gray, np.asarray(Image.open(io.BytesIO(data)).convert("L")))
