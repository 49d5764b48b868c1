"""Every row of config/images.md, on files drawn here: the pixels that it promises, or the refusal."""

import io
import re
import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cxrflow.config.settings import IndexSettings, PreprocessSettings
from cxrflow.data.decode import decode_image, decode_indexed
from cxrflow.data.headers import DecodeError
from cxrflow.data.indexing import build_index
from cxrflow.data.packing import read_preprocessed
from cxrflow.data.preprocessing import preprocess_image
from cxrflow.data.reading import hash_pixels
from cxrflow.deliver.tool import Xray, read_xray
from tests.data.test_decode_indexed import chunk, make_png
from tests.data.test_dicom import make_dicom, make_lut
from tests.data.toy import draw, encode, make_folders

PAGE = Path(__file__).resolve().parents[2] / "config/images.md"
GRAY = (np.add.outer(np.arange(30) * 3, np.arange(40) * 4)).astype(np.uint8)  # (30, 40), smooth, 0 to 243
BLACK_AND_WHITE = (GRAY > 99).astype(np.uint8) * 255
DEEP = GRAY.astype(np.uint16) * 257
RGB = np.random.default_rng(3).integers(0, 256, (30, 40, 3), dtype=np.uint8)
Drawn = tuple[bytes, NDArray[np.uint8], int]  # the file, its pixels, the largest difference of a lossy format


def save(pixels: NDArray[np.generic] | Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(bits: int, photometric: int, data: bytes, *more: tuple[int, int]) -> bytes:
    """Write an uncompressed gray TIFF of 40x30 px; more: further tags of 16 bits."""
    tags = [(256, 3, 40), (257, 3, 30), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (277, 3, 1), (278, 3, 30)]
    tags += [(279, 4, len(data)), *((tag, 3, value) for tag, value in more)]
    start = 8 + 2 + 12 * (len(tags) + 1) + 4
    body = b"".join(
        struct.pack("<HHI", tag, kind, 1) + struct.pack("<I" if kind == 4 else "<HH", *values)
        for tag, kind, *values in sorted(
            [(t, k, v) if k == 4 else (t, k, v, 0) for t, k, v in tags] + [(273, 4, start)]
        )
    )
    return b"II" + struct.pack("<HIH", 42, 8, len(tags) + 1) + body + bytes(4) + data


TURNED: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {  # EXIF 2.32, 4.6.4 A
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).T,
    8: np.rot90,
}


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def orientations() -> list[Drawn]:
    lossless = {"PNG": {}, "WEBP": {"lossless": True}, "AVIF": {"quality": 100}, "JPEG": {"quality": 100}}
    files = [
        (save(GRAY, kind, exif=exif(number), **options), turn(GRAY), 2 * (kind == "JPEG"))
        for number, turn in TURNED.items()
        for kind, options in lossless.items()
    ]
    behind = encode(GRAY)[:-12] + chunk(b"eXIf", exif(6).tobytes()[6:]) + encode(GRAY)[-12:]
    colour = save(np.dstack([GRAY] * 3), "PNG", exif=exif(8))
    return [*files, (behind, TURNED[6](GRAY), 0), (colour, TURNED[8](GRAY), 0)]


def tiff_orientations() -> list[Drawn]:
    return [
        each
        for number, turn in TURNED.items()
        for each in (
            (save(GRAY, "TIFF", tiffinfo={274: number}), turn(GRAY), 0),
            (save(GRAY, "TIFF", compression="tiff_lzw", tiffinfo={274: number}), turn(GRAY), 0),
            (save(RGB, "TIFF", tiffinfo={274: number}), turn(cv2.cvtColor(RGB, cv2.COLOR_RGB2GRAY)), 0),
            (tiff(16, 1, DEEP.tobytes(), (274, number)), turn(GRAY), 0),
        )
    ]


def inverted() -> list[Drawn]:
    packed = np.packbits(BLACK_AND_WHITE > 0, axis=1)
    return [
        (tiff(1, 0, (~packed).tobytes()), BLACK_AND_WHITE, 0),
        (tiff(8, 0, (255 - GRAY).tobytes()), GRAY, 0),
        (tiff(16, 0, (65535 - DEEP).tobytes()), GRAY, 0),
        (tiff(16, 0, (4095 - GRAY.astype(np.uint16) * 16).tobytes()), GRAY, 1),  # a detector of 12 bits
        (tiff(8, 0, (255 - GRAY).tobytes(), (274, 6)), TURNED[6](GRAY), 0),
        (save(BLACK_AND_WHITE > 0, "PPM"), BLACK_AND_WHITE, 0),
    ]


def palettes() -> list[Drawn]:
    colours = np.random.default_rng(1).permutation(256).astype(np.uint8)
    image = Image.frombytes("P", (40, 30), np.argsort(colours)[GRAY].astype(np.uint8).tobytes())
    image.putpalette(np.repeat(colours, 3).tobytes())
    return [(save(image, kind), GRAY, 0) for kind in ("PNG", "BMP", "GIF", "TIFF")]


def with_gamma(gamma: float, *more: bytes) -> bytes:
    return make_png(GRAY, [4], between=chunk(b"gAMA", struct.pack(">I", round(gamma * 1e5))) + b"".join(more))


def pages() -> list[bytes]:
    more = {"save_all": True, "append_images": [Image.fromarray(255 - GRAY)]}
    return [save(GRAY, kind, **more) for kind in ("TIFF", "GIF", "WEBP", "PNG", "AVIF")]


def damaged() -> list[bytes]:
    picture = cv2.GaussianBlur(draw(5, size=256), (0, 0), 3)
    files = []
    for options in ({}, {"progressive": True}, {"optimize": True}):
        for pixels in (picture, np.dstack([picture, picture // 2, picture])):
            good = save(pixels, "JPEG", **options)
            decode_image(good)
            hole = good[: len(good) // 2] + bytes(512) + good[len(good) // 2 + 512 :]
            files += [hole, good[: len(good) // 2], good[: len(good) // 2] + b"\xff\xd9"]
    png = encode(picture)
    return [*files, png[: len(png) // 2], png[:999] + bytes(64) + png[1063:]]


TRANSPARENT = np.full_like(GRAY, 9)
OPAQUE = np.full_like(GRAY, 255)
SRGB = chunk(b"sRGB", b"\0")
LIGHT = np.round(255 * (GRAY / 255.0) ** 0.45455).astype(np.uint8)
APPLIED: dict[str, Callable[[], list[Drawn]]] = {
    "orientation 1-8 in EXIF (JPEG, PNG, WebP, AVIF)": orientations,
    "orientation 1-8 in a TIFF": tiff_orientations,
    "white is zero (TIFF of 1, 8 or 16 bits; PBM)": inverted,
    "palette (PNG, BMP, GIF, TIFF)": palettes,
    "1 bit": lambda: [(save(BLACK_AND_WHITE > 0, kind), BLACK_AND_WHITE, 0) for kind in ("PNG", "BMP", "TIFF", "PPM")],
    "10 to 16 bits": lambda: [
        (encode(GRAY.astype(np.uint16) * 16), GRAY, 1),
        (encode(DEEP), GRAY, 0),
        (save(DEEP, "JPEG2000"), GRAY, 0),
    ],
    "white below the largest value (PGM, PPM)": lambda: [
        (b"P5\n# a comment\n40 30\n250\n" + GRAY.tobytes(), np.round(GRAY * (255 / 250)).astype(np.uint8), 0),
        (b"P5 40 30 4095\n" + (DEEP // 16).astype(">u2").tobytes(), GRAY, 1),
        (b"P2\n40 30\n250\n" + " ".join(map(str, GRAY.ravel())).encode() + b"\n", np.round(GRAY * (255 / 250)), 1),
        (save(GRAY, "PPM"), GRAY, 0),
    ],
    "gamma (PNG's gAMA)": lambda: [
        (with_gamma(1.0), LIGHT, 0),
        (with_gamma(0.45455), GRAY, 0),
        (with_gamma(0.44), GRAY, 0),
        (with_gamma(1.0, SRGB), GRAY, 0),
    ],
    "colour profile (ICC, sRGB, primaries)": lambda: [
        (save(GRAY, "PNG", icc_profile=b"any"), GRAY, 0),
        (make_png(GRAY, [4], between=SRGB), GRAY, 0),
    ],
    "colour": lambda: [
        (encode(RGB[..., ::-1]), cv2.cvtColor(RGB, cv2.COLOR_RGB2GRAY), 0),
        (encode(np.dstack([GRAY] * 3), ".bmp"), GRAY, 0),
    ],
    "opaque alpha": lambda: [
        (save(np.dstack([GRAY, OPAQUE]), kind), GRAY, 0) for kind in ("PNG", "TIFF")
    ] + [(encode(np.dstack([GRAY] * 3 + [OPAQUE])), GRAY, 0)],
}  # fmt: skip
REFUSED: dict[str, tuple[Callable[[], list[bytes]], str]] = {
    "transparent pixels": (
        lambda: [
            save(np.dstack([GRAY, TRANSPARENT]), "PNG"),
            save(np.dstack([GRAY, TRANSPARENT]), "TIFF"),
            *(save(np.dstack([GRAY] * 3 + [TRANSPARENT]), kind) for kind in ("PNG", "TIFF", "WEBP", "AVIF")),
            save(GRAY, "PNG", transparency=3),
            save(Image.fromarray(GRAY).convert("P"), "PNG", transparency=int(GRAY[0, 0])),
            save(Image.fromarray(GRAY).convert("P"), "GIF", transparency=int(GRAY[3, 3])),
        ],
        "transparent",
    ),
    "several pages or frames (TIFF, GIF, WebP, PNG, AVIF)": (pages, "animated or has several pages"),
    "CMYK, YCCK, Lab, floating point, 32 bits or signed": (
        lambda: [
            save(Image.fromarray(GRAY).convert("CMYK"), "JPEG"),
            save(Image.fromarray(GRAY).convert("CMYK"), "TIFF"),
            save(Image.fromarray(RGB).convert("LAB"), "TIFF"),
            save(GRAY.astype(np.float32), "TIFF"),
            tiff(32, 1, DEEP.astype(np.uint32).tobytes()),
            tiff(16, 1, DEEP.tobytes(), (339, 2)),
        ],
        "mode|expected 8 or 16 bit",
    ),
    "one grey level everywhere, or less than 4 of 256 apart": (
        lambda: [encode((252 + GRAY % 4).astype(np.uint8))]
        + [encode(np.full((30, 40), level, np.uint8), s) for level in (0, 255) for s in (".png", ".jpg")]
        + [encode(np.zeros((30, 40), np.uint16)), encode(np.full((30, 40, 3), (0, 0, 255), np.uint8))],
        "no contrast",
    ),
    "a side under 16 px, or more than `index.max_image_mpx`": (
        lambda: [encode(GRAY[:15]), encode(GRAY[:1, :1]), encode(draw(1, 200))],
        "no X-ray is smaller|max_image_mpx",
    ),
    "truncated or damaged data": (damaged, "truncated or damaged"),
    "HEIC, a web page, a Git LFS pointer": (
        lambda: [b"\0\0\0\x18ftypheic" + bytes(99), b"<html>", b"version https://git-lfs"],
        "HEIC|web page|Git LFS",
    ),
    "DICOM: several frames, no picture, a deflated file, High Bit above Bits Stored": (
        lambda: [
            make_dicom(GRAY, NumberOfFrames=3),
            bytes(128) + b"DICM" + bytes(99),
            make_dicom(GRAY).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99"),
            make_dicom(DEEP, BitsStored=12, HighBit=15),
        ],
        "several frames|without a picture|truncated|deflated|High Bit",
    ),
}  # fmt: skip


APPLIED |= {
    "DICOM: Modality LUT, Rescale Slope and Intercept, signed values, Bits Stored": lambda: [
        (make_dicom(GRAY, RescaleSlope=-2, RescaleIntercept=7), 255 - GRAY, 0),
        (make_dicom(GRAY.astype(np.int16) - 128, BitsStored=8), GRAY, 0),
        (make_dicom(GRAY.astype(np.uint16) * 16, BitsStored=12), np.rint(GRAY * (16.0 * 255 / 4095)), 0),
    ],
    "DICOM: VOI LUT, or Window Center and Width": lambda: [
        (make_dicom(GRAY, WindowCenter=[128, 9], WindowWidth=[256, 9]), GRAY, 0),
        (make_dicom(GRAY, WindowCenter=64, WindowWidth=128), np.minimum(GRAY * (255 / 127), 255), 1),
        (make_dicom(GRAY, VOILUTSequence=[make_lut(255 - np.arange(256))]), 255 - GRAY, 0),
    ],
    "DICOM: MONOCHROME1, Presentation LUT Shape INVERSE": lambda: [
        (make_dicom(GRAY, PhotometricInterpretation="MONOCHROME1"), 255 - GRAY, 0),
        (make_dicom(GRAY, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE"), GRAY, 0),
    ],
    "DICOM: Pixel Padding Value": lambda: [
        (make_dicom(GRAY, PixelPaddingValue=int(GRAY.max())), np.where(GRAY.max() == GRAY, 0, GRAY), 0)
    ],
    "DICOM: RGB, YBR, palette": lambda: [
        (
            make_dicom(RGB, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0),
            cv2.cvtColor(RGB, cv2.COLOR_RGB2GRAY),
            0,
        )
    ],
    "DICOM: JPEG, JPEG 2000, RLE": lambda: [
        (make_dicom(GRAY, compress="1.2.840.10008.1.2.4.90"), GRAY, 0),
        (make_dicom(GRAY, compress="1.2.840.10008.1.2.4.50"), GRAY, 3),
        (make_dicom(GRAY, compress="1.2.840.10008.1.2.5"), GRAY, 0),
    ],
    "DICOM: View Position LATERAL, LL, RL; Modality other than a plain X-ray's": lambda: [
        (make_dicom(GRAY, ViewPosition="LL", Modality="CT"), GRAY, 0)
    ],
    "DICOM: Patient Orientation, overlays, curves, all tags of the patient": lambda: [
        (make_dicom(GRAY, PatientOrientation=["R", "F"]), GRAY, 0)
    ],
}


def read_table() -> dict[str, str]:
    """Return {what a file says: what is done} of the page's table."""
    rows = re.findall(r"^\| (.+?) \| (applied|ignored|refused) \|", PAGE.read_text(), re.MULTILINE)
    return dict(rows)


def test_every_row_is_tried_and_every_trial_has_a_row() -> None:
    done = {what: "refused" if how == "refused" else "read" for what, how in read_table().items()}
    assert done == dict.fromkeys(APPLIED, "read") | dict.fromkeys(REFUSED, "refused")


@pytest.mark.parametrize("what", APPLIED)
def test_what_is_applied_gives_the_expected_pixels(what: str) -> None:
    for number, (data, expected, tolerance) in enumerate(APPLIED[what]()):
        decoded = decode_image(data)
        assert (decoded.height, decoded.width) == expected.shape, number
        off = np.abs(decoded.gray.astype(int) - expected).max()
        assert off <= tolerance, f"file {number} differs by {off}"
        np.testing.assert_array_equal(decode_indexed(data), decoded.gray, err_msg=f"file {number}")


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_is_refused_with_its_reason(what: str) -> None:
    draw_files, reason = REFUSED[what]
    for number, data in enumerate(draw_files()):
        with pytest.raises(DecodeError, match=reason):
            pytest.fail(f"file {number} was read: {decode_image(data, max_mpx=0.07 if 'damaged' in what else 0.03)}")


def test_a_good_file_of_every_format_is_no_damaged_one() -> None:
    """Also with what cameras and other programs put around the data."""
    good = save(GRAY, "JPEG", quality=90, exif=exif(1), comment=b"film")
    for data in (good, good + b"trailing", save(RGB, "JPEG", subsampling=2), save(GRAY, "JPEG", restart_marker_rows=1)):
        assert decode_image(data).gray.shape == GRAY.shape


def test_index_preprocess_and_predict_turn_a_sideways_jpeg_alike(tmp_path: Path) -> None:
    settings, size = make_folders(tmp_path), PreprocessSettings(size_px=20)
    (tmp_path / "ill/side.jpg").write_bytes(save(GRAY, "JPEG", exif=exif(6)))
    row = next(row for row in build_index(tmp_path, settings, IndexSettings(), 1).rows if "side" in row.path)
    upright = np.ascontiguousarray(TURNED[6](decode_image(save(GRAY, "JPEG")).gray))
    assert (row.width, row.height, row.pixel_sha256) == (30, 40, hash_pixels(upright))
    expected = preprocess_image(upright, size)
    np.testing.assert_array_equal(read_preprocessed(tmp_path, row, size), expected)
    found = read_xray(tmp_path / row.path, size, 100)
    assert isinstance(found, Xray)
    np.testing.assert_array_equal(found.image, expected)
