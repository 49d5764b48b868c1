"""What an image file says about its pixels before they are decoded: size, mode, orientation, meaning of the values.

Read with Pillow, which decodes nothing for it: a PNG of 0.9 MB can unpack to 5 GB, and an animation or a stack of pages
would be cut to its first picture without a word. config/images.md lists what becomes of every such statement.
"""

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

Image.MAX_IMAGE_PIXELS = None  # our own limit is checked on the header, before anything is decoded
Image.init()  # register every format now: decoding runs in threads

Values = NDArray[Any]  # (H, W)

MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "I;16", "I;16B", "I")  # gray, colour, palette; 8 or 16 bits
SENSOR_BITS = (8, 10, 12, 14, 16)  # bit depths of X-ray detectors
MIN_SIDE_PX = 16  # the smallest preprocess.size_px
ORIENTATION = 0x0112  # the tag's number in EXIF and TIFF
UPRIGHT = 1
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0  # TIFF
SRGB_GAMMA, GAMMA_TOLERANCE = 0.45455, 0.05  # what PNG decoders take for no correction at all (libpng)
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
EXIF_TEXTS = (b"XML:com.adobe.xmp", b"Raw profile type")  # text chunks that can hold an orientation
EXIF_OR_XMP = frozenset(("exif", "xmp", "Raw profile type exif", "XML:com.adobe.xmp"))  # Pillow's names
# With its preamble, or, as old devices write it, without: a first element of group 2 or 8, with its type or its length.
DICOM = re.compile(rb".{128}DICM|[\x02\x08]\0.\0(?:[A-Z]{2}|..\0\0)", re.DOTALL)
PNM_WHITE = re.compile(rb"P[2356](?:\s+(?:#[^\n]*\n\s*)*(\d+)){3}\s")


class DecodeError(Exception):
    """A file that gives no trustworthy gray image; the message is the reason, without the file's name."""


@dataclass(frozen=True)
class Header:
    """What is done with a file's pixels, and how large they are.

    Attributes:
        width: of the picture as it is stored, px.
        height: likewise.
        mode: Pillow's mode of the file (L, RGB, RGBA, I;16, ...).
        kind: Pillow's name of the format (PNG, JPEG, ...).
        orientation: EXIF's 1-8; 1 where nothing is left to turn.
        white: the value that is white, or 0: the largest of the pixels' type or detector.
        white_is_zero: the values are to be inverted still.
        exponent: applied to gray values of 0-1; 1 leaves them.
    """

    width: int
    height: int
    mode: str = "L"
    kind: str = "PNG"
    orientation: int = UPRIGHT
    white: int = 0
    white_is_zero: bool = False
    exponent: float = 1.0


def read_header(data: bytes, max_mpx: float) -> Header:
    """Return the header of a still image of at most `max_mpx` megapixels, without decoding it.

    Raises:
        DecodeError: not an image, or one that is refused.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            pages = getattr(image, "n_frames", 1)
            see_through = "transparency" in image.info and image.mode != "P"  # a palette's is seen in the decoded alpha
            header = _describe(image, data)
    except UnidentifiedImageError:
        raise DecodeError(name_content(data)) from None
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error... on bad headers
        raise DecodeError(f"its header is damaged ({type(error).__name__})") from None
    if not header.width * header.height <= max_mpx * 1e6:  # also where the limit is no number
        raise DecodeError(f"it has more than {max_mpx:g} megapixels (max_image_mpx)")
    if min(header.width, header.height) < MIN_SIDE_PX:
        raise DecodeError(f"it is {header.width}x{header.height} px: no X-ray is smaller than {MIN_SIDE_PX} px")
    if pages > 1:
        raise DecodeError("it is animated or has several pages")
    if header.mode not in MODES:
        raise DecodeError(f"its pixels are of Pillow's mode {header.mode}; expected 8 or 16 bit gray or RGB")
    if see_through:
        raise DecodeError("it has transparent pixels")
    if header.orientation not in range(1, 9):
        raise DecodeError(f"its orientation is {header.orientation}; EXIF and TIFF know 1 to 8")
    return header


def _describe(image: Image.Image, data: bytes) -> Header:
    width, height = image.size
    kind = str(image.format)
    return Header(
        width,
        height,
        image.mode,
        kind,
        orientation=_orientation(image, data),
        white=_white(data),
        white_is_zero=_white_is_zero(image),
        exponent=_exponent(image),
    )


def read_orientation(data: bytes) -> int:
    """Return what cv2 leaves to turn of an image file, as one of EXIF's orientations 1-8; 1: nothing."""
    with Image.open(io.BytesIO(data)) as image:
        return _orientation(image, data)


def _orientation(image: Image.Image, data: bytes) -> int:
    """Return what is left to turn. cv2 turns a TIFF itself, and nothing else when it decodes unchanged."""
    if image.format == "TIFF" or (image.format == "PNG" and not may_be_turned(data)):  # Pillow would decode the PNG
        return UPRIGHT
    if image.format in ("JPEG", "MPO") and not EXIF_OR_XMP.intersection(image.info):
        return UPRIGHT
    return int(image.getexif().get(ORIENTATION, UPRIGHT)) or UPRIGHT  # cameras without a sensor for it write 0


def turn_upright(gray: Values, orientation: int) -> Values:
    """Turn and mirror (H, W) as one of EXIF's orientations 1-8 asks for."""
    if orientation >= 5:
        gray = gray.T
    if orientation in (3, 4, 7, 8):
        gray = gray[::-1]
    if orientation in (2, 3, 6, 7):
        gray = gray[:, ::-1]
    return np.ascontiguousarray(gray)


def _white_is_zero(image: Image.Image) -> bool:
    """Say whether a TIFF's values are to be inverted. cv2 inverts those of up to 8 bits itself."""
    if image.format != "TIFF" or not image.mode.startswith("I"):
        return False
    return bool(image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO)  # type: ignore[attr-defined]


def _white(data: bytes) -> int:
    """Return the white of a PGM or PPM file where it is not the largest value of its type; else 0.

    cv2 leaves the values as they are, but for those of 8 bits in text (P2, P3), which it scales.
    """
    match = PNM_WHITE.match(data)
    white = int(match[1]) if match else 0
    scaled = white in (255, 65535) or (data[:2] in (b"P2", b"P3") and white < 256)
    return 0 if scaled else white


def _exponent(image: Image.Image) -> float:
    """Return what turns a PNG's values into those of sRGB, as its gAMA says; sRGB and iCCP overrule it."""
    gamma = image.info.get("gamma", 0) if image.format == "PNG" else 0
    if not gamma or "srgb" in image.info or "icc_profile" in image.info:
        return 1.0
    exponent = SRGB_GAMMA / gamma
    return 1.0 if abs(exponent - 1) <= GAMMA_TOLERANCE else exponent


def read_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and first 20 bytes of every chunk of a PNG, as far as they are whole."""
    place = len(PNG_SIGNATURE)
    while place + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, place)
        yield name, data[place + 8 : place + 8 + min(length, 20)]
        place += 12 + length


def may_be_turned(data: bytes) -> bool:
    """Say whether a PNG has a chunk that can hold an orientation, which may stand before or behind the pixels."""
    return any(name == b"eXIf" or start.startswith(EXIF_TEXTS) for name, start in read_chunks(data))


def name_content(data: bytes) -> str:
    """Say what bytes are that no image library recognises."""
    if not data:
        return "the file is empty (0 bytes)"
    if data[4:8] == b"ftyp":
        return "it is a HEIC picture or a film: convert it to PNG first"
    if data.lstrip()[:1] == b"<":
        return "it is a web page or XML, not an image: download it again"
    if data.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the image: fetch the file itself"
    return "it is not an image, or damaged from its first bytes on, or of a rare kind: save it as PNG"
