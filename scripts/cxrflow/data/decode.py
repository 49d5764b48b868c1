"""From the bytes of a file to gray pixels, or a reason why not. Reads and writes nothing.

Files are decoded from bytes with cv2.imdecode, never with cv2.imread, which returns half a picture for a truncated JPEG
and crashes on a path that is not UTF-8. The header is read first with Pillow, which decodes nothing: a PNG of 0.9
MB can unpack to 5 GB, and an animation or a stack of pages would be cut to its first picture without a word. What
no decoder can see is damage inside a JPEG: it decodes to wrong pixels. The index therefore keeps every file's
SHA-256. Bytes that the index has accepted, as their SHA-256 shows, may later be decoded by a less strict decoder:
kornia_rs takes half of cv2's time for a PNG, and it neither compares the checksum inside the compressed stream nor
refuses animation and transparency.
"""

import contextlib
import functools
import io
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # a refused file is reported once, by name, not by the library

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

Image.MAX_IMAGE_PIXELS = None  # our own limit is checked on the header, before anything is decoded
Image.init()  # register every format now: decoding runs in threads

Gray = NDArray[np.uint8]  # uint8 (H, W), 0-255
Decoder = Callable[[bytes, int, int], Gray]  # the file, height, width
Pixels = NDArray[Any]  # uint8 or uint16, as cv2 decoded them

MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "I;16", "I;16B", "I")  # gray, colour, palette; 8 or 16 bits
SENSOR_BITS = (8, 10, 12, 14, 16)  # bit depths of X-ray detectors
IHDR = struct.Struct(">8s4s4sIIBBBBB")
PNG_START = (b"\x89PNG\r\n\x1a\n", struct.pack(">I", 13), b"IHDR")
REMEDY = "PNG files are decoded with cv2, to the same pixels in about twice the time; `pip install kornia-rs` helps"


class DecodeError(Exception):
    """A file that gives no trustworthy gray image; the message is the reason, without the file's name."""


@dataclass(frozen=True)
class Decoded:
    """One decoded image.

    Attributes:
        gray: uint8 (height, width), 0-255.
        width: of the file, pixels.
        height: of the file, pixels.
        mode: Pillow's mode of the file (L, RGB, RGBA, I;16, ...).
    """

    gray: NDArray[np.uint8]
    width: int
    height: int
    mode: str


def decode_image(data: bytes, max_mpx: float = 100.0) -> Decoded:
    """Decode a file's bytes to gray; an orientation noted in EXIF is not applied, as in training.

    max_mpx: refuse larger images before decoding them, megapixels.

    Raises:
        DecodeError: empty, not an image, damaged, too large, several pages, floating point, or transparent.
    """
    width, height, mode = read_header(data, max_mpx)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise DecodeError("the file is truncated or damaged")
    if pixels.shape[:2] != (height, width):
        raise DecodeError("the file's header and its pixels disagree about its size")
    return Decoded(scale_to_8_bits(to_gray(pixels)), width, height, mode)


def read_header(data: bytes, max_mpx: float) -> tuple[int, int, str]:
    """Return (width, height, mode) of a still image of at most `max_mpx` megapixels, without decoding it.

    Raises:
        DecodeError: not an image, or one that is refused.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            (width, height), mode, pages = image.size, image.mode, getattr(image, "n_frames", 1)
            see_through = "transparency" in image.info and mode != "P"  # a palette's is seen in the decoded alpha
    except UnidentifiedImageError:
        raise DecodeError(name_content(data)) from None
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error... on bad headers
        raise DecodeError(f"its header is damaged ({type(error).__name__})") from None
    if width * height > max_mpx * 1e6:
        raise DecodeError(f"it has more than {max_mpx:g} megapixels (max_image_mpx)")
    if pages > 1:
        raise DecodeError("it is animated or has several pages")
    if mode not in MODES:
        raise DecodeError(f"its pixels are of Pillow's mode {mode}; expected 8 or 16 bit gray or RGB")
    if see_through:
        raise DecodeError("it has transparent pixels")
    return width, height, mode


def name_content(data: bytes) -> str:
    """Say what bytes are that no image library recognises."""
    if not data:
        return "the file is empty (0 bytes)"
    if data[128:132] == b"DICM":
        return "it is a DICOM file, whatever its name says: convert it to PNG first"
    if data.lstrip()[:1] == b"<":
        return "it is a web page or XML, not an image: download it again"
    if data.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the image: fetch the file itself"
    return "it is not an image, or damaged from its first bytes on"


def to_gray(pixels: Pixels) -> Pixels:
    """Reduce (H, W), (H, W, 3) BGR or (H, W, 4) BGRA to (H, W) of the same dtype, uint8 or uint16.

    Three equal channels give that channel, unchanged; others their luminance (ITU-R BT.601, as cv2.cvtColor).

    Raises:
        DecodeError: floating point, or an alpha channel that is not opaque everywhere.
    """
    if pixels.dtype not in (np.uint8, np.uint16):
        raise DecodeError(f"its pixels are {pixels.dtype}; expected 8 or 16 bit whole numbers")
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[2] == 4 and (pixels[..., 3] != np.iinfo(pixels.dtype).max).any():
        raise DecodeError("it has transparent pixels")
    blue, green, red = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    if np.array_equal(blue, green) and np.array_equal(green, red):
        return np.ascontiguousarray(blue)
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels[..., :3]), cv2.COLOR_BGR2GRAY))


def scale_to_8_bits(gray: Pixels) -> NDArray[np.uint8]:
    """Scale uint16 (H, W) to uint8 by the image's own bit depth; uint8 is returned as it is.

    The depth is the smallest one of detectors (8, 10, 12, 14, 16 bits) that holds the brightest pixel: a 12 bit
    X-ray kept in a 16 bit PNG uses the whole range 0-255. Taking the upper byte, as cv2.imread does, would leave it
    at 0-15.
    """
    if gray.dtype == np.uint8:
        return gray
    brightest = int(gray.max(initial=0))
    depth = next(bits for bits in SENSOR_BITS if brightest < 2**bits)
    table: NDArray[np.uint8] = np.round(np.arange(2**depth) * (255 / (2**depth - 1))).astype(np.uint8)
    return table[gray]


def decode_indexed(data: bytes) -> Gray:
    """Decode bytes that decode_image has accepted before; return uint8 (height, width), equal to what it gives.

    Raises:
        DecodeError: they are not such bytes.
    """
    kind = read_kind(data) if load_kornia() else None
    if kind is not None:
        name, height, width = kind
        with contextlib.suppress(Exception):  # kornia_rs raises no other; cv2, which accepted these bytes, decides
            return DECODERS[name](data, height, width)
    return decode_image(data, max_mpx=float("inf")).gray


def read_kind(data: bytes) -> tuple[tuple[int, int], int, int] | None:
    """Return ((bits, colour type), height, width) of a PNG of a kind in DECODERS, or None: cv2 decodes the others."""
    if len(data) < IHDR.size:
        return None
    *start, width, height, bits, colour, compression, filters, interlaced = IHDR.unpack_from(data)
    plain = (compression, filters, interlaced) == (0, 0, 0)
    known = tuple(start) == PNG_START and plain and (bits, colour) in DECODERS
    return ((bits, colour), height, width) if known else None


def decode_gray(data: bytes, height: int, width: int) -> Gray:
    """Decode an 8 bit gray PNG."""
    return np.asarray(load_kornia()(data, (height, width), "mono"), np.uint8)[..., 0]


def decode_rgb(data: bytes, height: int, width: int) -> Gray:
    """Decode an 8 bit RGB PNG and reduce it to gray as decode_image does."""
    rgb = np.asarray(load_kornia()(data, (height, width), "rgb"), np.uint8)
    return np.asarray(to_gray(rgb[..., ::-1]), np.uint8)


# PNG's (bits, colour type). A further kind needs its proof in tests/data/test_indexed.py.
DECODERS: dict[tuple[int, int], Decoder] = {(8, 0): decode_gray, (8, 2): decode_rgb}


@functools.cache
def load_kornia() -> Any:
    """Return kornia_rs' function for PNG, or None, said once, where it is missing or does not give cv2's pixels here.

    It is imported on first use, so that stages that decode nothing run where it is not installed.
    """
    try:
        from kornia_rs.io import decode_image_png_u8
    except ImportError as error:
        print(f"kornia_rs cannot be imported ({error}): {REMEDY}")
        return None
    if not agrees_with_cv2(decode_image_png_u8):
        print(
            f"kornia_rs does not give cv2's pixels on this machine: {REMEDY}, in the version of envs/requirements.txt"
        )
        return None
    return decode_image_png_u8


def agrees_with_cv2(decode: Callable[..., Any]) -> bool:
    """Compare a decoder of PNG with cv2 on a small colour picture, as releases of kornia_rs differ in their calls."""
    rgb = np.add.outer(np.arange(24) ** 2, np.arange(3 * 40)).astype(np.uint8).reshape(24, 40, 3)
    encoded, data = cv2.imencode(".png", rgb[..., ::-1])
    try:
        return bool(encoded) and np.array_equal(decode(data.tobytes(), rgb.shape[:2], "rgb"), rgb)
    except Exception:  # other releases take other arguments, and kornia_rs raises Exception itself
        return False
