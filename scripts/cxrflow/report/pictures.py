"""Pictures that travel inside the page: PNG files as data URIs."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import check_unchanged, sha256_bytes
from cxrflow.files.figures import DPI

MAX_WIDTH_PX = 1600  # twice the page's text width: sharp on dense screens
QUALITY = 82  # WebP: a third of the PNG's bytes, and no difference to the eye


@dataclass(frozen=True)
class Picture:
    """An image for an <img> tag."""

    uri: str  # `data:image/...;base64,...`
    width: int  # pixels, so that the browser lays the page out before it decodes anything
    height: int
    alt: str  # what it shows, for those who cannot see it
    width_in: float  # as it was drawn: letters have one size on the page, however wide the picture is


def embed_chart(path: Path, alt: str) -> Picture:
    """Return a drawn figure as it is: PNG keeps thin lines and letters sharp.

    Raises:
        CxrflowError: the file is missing or not an image.
    """
    data, image = _read(path)
    return Picture(_as_uri("image/png", data), image.width, image.height, alt, image.width / DPI)


def embed_gallery(path: Path, alt: str) -> Picture:
    """Return a sheet of X-rays, at most MAX_WIDTH_PX wide, as WebP.

    Raises:
        CxrflowError: the file is missing or not an image.
    """
    image = _read(path)[1].convert("RGB")
    width_in = image.width / DPI
    if image.width > MAX_WIDTH_PX:
        height = round(image.height * MAX_WIDTH_PX / image.width)
        image = image.resize((MAX_WIDTH_PX, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=QUALITY, method=4)
    return Picture(_as_uri("image/webp", buffer.getvalue()), image.width, image.height, alt, width_in)


def _read(path: Path) -> tuple[bytes, Image.Image]:
    try:
        data = path.read_bytes()
        check_unchanged(path, sha256_bytes(data))
        image = Image.open(io.BytesIO(data))
        image.load()
    except FileNotFoundError:
        raise CxrflowError(
            f"{path} does not exist: the page needs it; make it first (snakemake builds it when asked for it by name)"
        ) from None
    except OSError as error:
        raise CxrflowError(f"{path} is not a picture ({error}): delete it and run its stage again") from None
    return data, image


def _as_uri(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"
