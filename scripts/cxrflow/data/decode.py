"""From the bytes of a file to gray pixels as a viewer shows them, or a reason why not. Reads and writes nothing.

Files are decoded from bytes with cv2.imdecode, never with cv2.imread, which returns half a picture for a truncated JPEG
and crashes on a path that is not UTF-8. What the file says about its pixels comes from its header (headers.py) and is
applied here, for `index`, `preprocess` and `predict` alike. libjpeg decodes damaged JPEG data to wrong pixels and only
warns: kornia_rs, which takes its warnings for errors, finds most of such damage, and the index keeps every file's
SHA-256 for what no decoder can see. Bytes that the index has accepted, as their SHA-256 shows, may later be decoded by
a less strict decoder: kornia_rs takes half of cv2's time for a PNG, and it neither compares the checksum inside the
compressed stream nor refuses animation and transparency.
"""

import contextlib
import functools
import io
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxrflow.data.dicom import read_dicom
from cxrflow.data.headers import (
    DICOM,
    PNG_SIGNATURE,
    SENSOR_BITS,
    DecodeError,
    Header,
    read_chunks,
    read_header,
    turn_upright,
)

Gray = NDArray[np.uint8]  # uint8 (H, W), 0-255
Decoder = Callable[[bytes, int, int], Any]  # the file, height, width; to uint8 (H, W) or (H, W, 3) BGR
Pixels = NDArray[Any]  # uint8 or uint16, as cv2 decoded them

MIN_SPREAD = 4  # a blank image is noisy once it was a JPEG, and equalization would make a picture of its noise
IHDR = struct.Struct(">8s4s4sIIBBBBB")
PNG_START = (PNG_SIGNATURE, struct.pack(">I", 13), b"IHDR")
SAYING = frozenset((b"eXIf", b"gAMA", b"iTXt", b"tEXt", b"zTXt"))  # chunks of a PNG that can change the picture
REMEDY = "PNG files are decoded with cv2, to the same pixels in about twice the time; `pip install kornia-rs` helps"
UNCHECKED = "damage inside JPEG files cannot be noticed; `pip install kornia-rs` helps"


@dataclass(frozen=True)
class Decoded:
    """One decoded image.

    Attributes:
        gray: uint8 (height, width), 0-255.
        width: of the file, pixels.
        height: of the file, pixels.
        mode: Pillow's mode of the file (L, RGB, RGBA, I;16, ...), or DICOM.
        notes: what a reader of it should know, one sentence each.
        colour: mean difference between the largest and the smallest channel of a pixel, grey levels of 255.
    """

    gray: NDArray[np.uint8]
    width: int
    height: int
    mode: str
    notes: tuple[str, ...] = ()
    colour: float = 0.0


def decode_image(data: bytes, max_mpx: float = 100.0) -> Decoded:
    """Decode a file's bytes to gray, upright, black below white.

    max_mpx: refuse larger images before decoding them, megapixels.

    Raises:
        DecodeError: empty, not an image, damaged, too large or small, several pages, floating point, transparent, or of
        hardly more than one grey level.
    """
    decoded = _decode_dicom(data, max_mpx) if DICOM.match(data) else _decode_image_file(data, max_mpx)
    if (spread := int(decoded.gray.max()) - int(decoded.gray.min())) < MIN_SPREAD:
        levels = f"its grey levels lie within {spread + 1} of 256" if spread else "every pixel has the same grey level"
        raise DecodeError(f"it has no contrast: {levels}")
    return decoded


def _decode_image_file(data: bytes, max_mpx: float) -> Decoded:
    header = read_header(data, max_mpx)
    if header.kind in ("JPEG", "MPO"):
        check_jpeg(data, header.mode)
    return _decode_with_cv2(data, header)


def _decode_dicom(data: bytes, max_mpx: float) -> Decoded:
    pixels, notes = read_dicom(data, max_mpx)
    gray = scale_to_8_bits(to_gray(pixels))
    return Decoded(gray, gray.shape[1], gray.shape[0], "DICOM", notes)


def _decode_with_cv2(data: bytes, header: Header) -> Decoded:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise DecodeError("the file is truncated or damaged, or of a rare kind: save it as PNG")
    if pixels.shape[:2] != (header.height, header.width):
        raise DecodeError("the file's header and its pixels disagree about its size")
    if header.mode in ("LA", "PA") and pixels.ndim == 2:  # cv2 drops the opacity of a gray TIFF
        check_opaque(np.asarray(Image.open(io.BytesIO(data)).getchannel("A")))
    gray = finish_gray(to_gray(pixels), header)
    return Decoded(gray, gray.shape[1], gray.shape[0], header.mode, colour=measure_colour(pixels))


def finish_gray(gray: Pixels, header: Header) -> Gray:
    """Give stored gray values, uint8 or uint16 (H, W), the meaning that the header states; return uint8 0-255."""
    if header.white:
        gray = np.round(gray * (255 / header.white)).clip(0, 255).astype(np.uint8)
    gray = scale_to_8_bits(gray)
    if header.white_is_zero:
        gray = 255 - gray
    if header.exponent != 1:
        gray = np.round(255 * (np.arange(256) / 255) ** header.exponent).astype(np.uint8)[gray]
    return turn_upright(gray, header.orientation)


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
    if pixels.shape[2] == 4:
        check_opaque(pixels[..., 3])
    blue, green, red = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    if np.array_equal(blue, green) and np.array_equal(green, red):
        return np.ascontiguousarray(blue)
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels[..., :3]), cv2.COLOR_BGR2GRAY))


def measure_colour(pixels: Pixels) -> float:
    """Return how far the channels of (H, W), (H, W, 3) or (H, W, 4) are apart on average, grey levels of 255."""
    if pixels.ndim == 2:
        return 0.0
    some = pixels[::4, ::4, :3]  # a sixteenth of the pixels tells it as well
    return float((some.max(axis=2) - some.min(axis=2)).mean()) * 255 / np.iinfo(pixels.dtype).max


def check_opaque(alpha: Pixels) -> None:
    """Refuse an image with pixels that are not opaque, (H, W) of a whole-number type.

    Raises:
        DecodeError: some are transparent.
    """
    if (alpha != np.iinfo(alpha.dtype).max).any():
        raise DecodeError("it has transparent pixels")


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
            pixels = to_gray(DECODERS[name](data, height, width))
            says_more = any(chunk in SAYING for chunk, _ in read_chunks(data))
            return finish_gray(pixels, read_header(data, float("inf"))) if says_more else pixels
    if DICOM.match(data):
        return _decode_dicom(data, float("inf")).gray
    return _decode_with_cv2(data, read_header(data, float("inf"))).gray


def read_kind(data: bytes) -> tuple[tuple[int, int], int, int] | None:
    """Return ((bits, colour type), height, width) of a PNG of a kind in DECODERS, or None: cv2 decodes the others."""
    if len(data) < IHDR.size:
        return None
    *start, width, height, bits, colour, compression, filters, interlaced = IHDR.unpack_from(data)
    plain = (compression, filters, interlaced) == (0, 0, 0)
    known = tuple(start) == PNG_START and plain and (bits, colour) in DECODERS
    return ((bits, colour), height, width) if known else None


def decode_gray(data: bytes, height: int, width: int) -> Pixels:
    """Decode an 8 bit gray PNG."""
    return np.asarray(load_kornia()(data, (height, width), "mono"), np.uint8)[..., 0]


def decode_rgb(data: bytes, height: int, width: int) -> Pixels:
    """Decode an 8 bit RGB PNG to BGR."""
    return np.asarray(load_kornia()(data, (height, width), "rgb"), np.uint8)[..., ::-1]


def check_jpeg(data: bytes, mode: str) -> None:
    """Refuse a JPEG whose compressed data are damaged: what libjpeg only warns of.

    Raises:
        DecodeError: cut off, overwritten, or otherwise not what an encoder writes.
    """
    decode = load_kornia_jpeg()
    if decode is None or mode not in ("L", "RGB"):
        return
    try:
        decode(data, "mono" if mode == "L" else "rgb")
    except Exception:  # kornia_rs raises no other
        raise DecodeError("its compressed data are truncated or damaged, as libjpeg warns: fetch it again") from None


# PNG's (bits, colour type). A further kind needs its proof in tests/data/test_decode_indexed.py.
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


@functools.cache
def load_kornia_jpeg() -> Any:
    """Return kornia_rs' function for JPEG, or None, said once, where it is missing or takes damaged data for good."""
    try:
        from kornia_rs.io import decode_image_jpegturbo
    except ImportError as error:
        print(f"kornia_rs cannot be imported ({error}): {UNCHECKED}", file=sys.stderr)
        return None
    if not finds_damage(decode_image_jpegturbo):
        print(f"kornia_rs does not find damage in a JPEG file on this machine: {UNCHECKED}", file=sys.stderr)
        return None
    return decode_image_jpegturbo


def finds_damage(decode: Callable[..., Any]) -> bool:
    """Say whether a decoder of JPEG takes a small good picture and refuses it with a hole of zeros."""
    good = cv2.imencode(".jpg", (np.add.outer(np.arange(64) ** 2, np.arange(64) * 37) % 256).astype(np.uint8))[1]
    hole = good.copy()
    hole[len(hole) // 2 : -20] = 0
    try:
        decode(good.tobytes(), "mono")
    except Exception:  # other releases take other arguments
        return False
    try:
        decode(hole.tobytes(), "mono")
    except Exception:  # as it should
        return True
    return False


def agrees_with_cv2(decode: Callable[..., Any]) -> bool:
    """Compare a decoder of PNG with cv2 on a small colour picture, as releases of kornia_rs differ in their calls."""
    rgb = np.add.outer(np.arange(24) ** 2, np.arange(3 * 40)).astype(np.uint8).reshape(24, 40, 3)
    encoded, data = cv2.imencode(".png", rgb[..., ::-1])
    try:
        return bool(encoded) and np.array_equal(decode(data.tobytes(), rgb.shape[:2], "rgb"), rgb)
    except Exception:  # other releases take other arguments, and kornia_rs raises Exception itself
        return False
