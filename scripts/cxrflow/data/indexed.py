"""From the bytes of an indexed file to its gray pixels, by the fastest decoder known to give the same ones.

Nothing is judged here: the index has decoded these very bytes with decode.py, as their SHA-256 shows. So a decoder may
serve that is less strict. kornia_rs takes half of cv2's time for a PNG, and it neither compares the checksum inside
the compressed stream nor refuses animation and transparency. Reads and writes nothing.
"""

import contextlib
import functools
import struct
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrflow.data.decode import decode_image, to_gray

Gray = NDArray[np.uint8]  # uint8 (H, W), 0-255
Decoder = Callable[[bytes, int, int], Gray]  # the file, height, width

IHDR = struct.Struct(">8s4s4sIIBBBBB")
PNG_START = (b"\x89PNG\r\n\x1a\n", struct.pack(">I", 13), b"IHDR")
REMEDY = "PNG files are decoded with cv2, to the same pixels in about twice the time; `pip install kornia-rs` mends it"


def decode_indexed(data: bytes) -> Gray:
    """Decode bytes that decode_image has accepted before; return uint8 (height, width), equal to what it gives.

    Raises:
        DecodeError: they are no such bytes.
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
        print(f"kornia_rs is not there ({error}): {REMEDY}")
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
