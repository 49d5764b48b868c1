"""From the bytes of a DICOM file to its pixels as a viewer shows them, 8 bit, or a reason why not.

Stored values -> modality LUT or rescale -> VOI LUT or window, the first of several -> inverted if MONOCHROME1 or an
inverse presentation, not both (DICOM PS3.3 C.7.6.3.1.2, C.11.1, C.11.2, C.11.6). Without a window the range is that of
a 16 bit PNG: the smallest depth of a detector. Of all tags only those of the picture are read; what is said of a file
never repeats what it holds but numbers and single words in capitals: no name or date of a patient gets out.

pydicom is imported on first use: most stages read no DICOM file.
"""

import io
import logging
import re
import threading
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxrflow.data.headers import MIN_SIDE_PX, SENSOR_BITS, DecodeError

Values = NDArray[Any]

DEFLATED = b"1.2.840.10008.1.2.1.99"  # pydicom would unpack it without a limit
GRAY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
LATERAL = ("LATERAL", "LL", "RL")  # View Position
PROJECTIONS = ("CR", "DX", "RF", "XA", "RG", "OT", "SC", "")  # Modality, of what may be an X-ray film
INSTALL = {  # transfer syntax, by the start of its UID: the packages that decode it, where Pillow does not
    "1.2.840.10008.1.2.4.9": "pylibjpeg pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.20": "pylibjpeg pylibjpeg-openjpeg",
}
ELSE_INSTALL = "pylibjpeg pylibjpeg-libjpeg"  # JPEG lossless and JPEG-LS; of the GPL, so it does not come along
SILENT = logging.CRITICAL + 1
LOCK = threading.Lock()  # Python's list of ignored warnings is one for all threads


def read_dicom(data: bytes, max_mpx: float) -> tuple[Values, tuple[str, ...]]:
    """Return a DICOM file's picture and notes on it, one sentence each.

    Returns uint8 (H, W), 0-255, black below white; or, of a colour picture, uint8 or uint16 (H, W, 3) BGR.
    max_mpx: refuse larger pictures before decoding them, megapixels.

    Raises:
        DecodeError: not one still picture, or one that cannot be decoded; the reason.
    """
    try:
        import pydicom
    except ImportError:
        raise DecodeError("it is a DICOM file, and the package pydicom is missing: pip install pydicom") from None
    if DEFLATED in data[:2048]:
        raise DecodeError("it is a DICOM file of deflated transfer syntax: save it uncompressed")
    try:
        with LOCK, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote values
            for name in ("pydicom", "openjpeg"):  # so do their logs
                logging.getLogger(name).setLevel(SILENT)
            dataset = pydicom.dcmread(io.BytesIO(data), force=True)
            check_picture(dataset, max_mpx)
            return show_picture(dataset), list_notes(dataset)
    except (DecodeError, MemoryError):
        raise
    except Exception as error:  # pydicom raises nearly every kind; its words may quote the file
        raise DecodeError(f"it is a DICOM file that is truncated or damaged ({type(error).__name__})") from None


def check_picture(dataset: Any, max_mpx: float) -> None:
    """Refuse what is not one still picture of a size that can be read, without decoding it.

    Raises:
        DecodeError: the reason.
    """
    if "PixelData" not in dataset:
        raise DecodeError("it is a DICOM file without a picture, or truncated before it")
    height, width = int(dataset.Rows), int(dataset.Columns)
    if not height * width <= max_mpx * 1e6:
        raise DecodeError(f"it has more than {max_mpx:g} megapixels (max_image_mpx)")
    if min(height, width) < MIN_SIDE_PX:
        raise DecodeError(f"it is {width}x{height} px: no X-ray is smaller than {MIN_SIDE_PX} px")
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        raise DecodeError("it is a DICOM file of several frames: none of them is the picture")
    if _word(dataset, "PhotometricInterpretation") not in GRAY + COLOUR:
        raise DecodeError("its Photometric Interpretation is unknown; expected MONOCHROME1, MONOCHROME2 or RGB")
    if int(dataset.HighBit) != int(dataset.BitsStored) - 1:
        raise DecodeError("its pixels do not fill the lower bits (High Bit): save it with another program")
    syntax = dataset.file_meta.TransferSyntaxUID if "TransferSyntaxUID" in dataset.get("file_meta", {}) else None
    if syntax is None:
        from pydicom.uid import ImplicitVRLittleEndian

        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian  # as files without a preamble are
    elif syntax.is_compressed:
        _check_decoder(dataset, str(syntax))


def _check_decoder(dataset: Any, syntax: str) -> None:
    """Refuse a compressed picture that no package here decodes, or that is larger than the file says."""
    from pydicom.encaps import get_frame
    from pydicom.pixels.decoders.base import get_decoder

    uid = syntax if re.fullmatch(r"[0-9.]{1,64}", syntax) else "of no valid UID"
    try:
        is_available, name = get_decoder(syntax).is_available, f"{dataset.file_meta.TransferSyntaxUID.name} ({uid})"
    except NotImplementedError:
        raise DecodeError(f"its transfer syntax {uid} is unknown: save it uncompressed") from None
    if not is_available:
        package = next((each for start, each in INSTALL.items() if syntax.startswith(start)), ELSE_INSTALL)
        raise DecodeError(
            f"its pixels are compressed as {name}, which no package here decodes: pip install {package}, or save it"
            " uncompressed"
        )
    try:
        size = Image.open(io.BytesIO(get_frame(dataset.PixelData, 0, number_of_frames=1))).size
    except OSError:
        return  # of a kind that Pillow does not know: RLE, whose length is checked when it is decoded
    if size != (int(dataset.Columns), int(dataset.Rows)):
        raise DecodeError("the file's header and its pixels disagree about its size")


def show_picture(dataset: Any) -> Values:
    """Return the picture as a viewer shows it: uint8 (H, W), or (H, W, 3) BGR of a colour one."""
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.pixels.utils import pixel_array

    stored = pixel_array(dataset)
    if _word(dataset, "PhotometricInterpretation") not in GRAY:
        rgb = apply_color_lut(stored, dataset) if stored.ndim == 2 else stored
        return np.ascontiguousarray(rgb[..., ::-1])
    stored = take_stored_bits(stored, dataset)
    gray = np.rint(255 * show_values(stored, dataset)).astype(np.uint8)
    is_inverse = _word(dataset, "PresentationLUTShape") == "INVERSE"
    if (_word(dataset, "PhotometricInterpretation") == "MONOCHROME1") != is_inverse:
        gray = 255 - gray
    return np.where(find_padding(stored, dataset), np.uint8(0), gray)  # what lies around the film is black


def take_stored_bits(values: Values, dataset: Any) -> Values:
    """Return the values of the stored bits alone, int64 (H, W): overlays once lay in the bits above them."""
    bits = int(dataset.BitsStored)
    values = values.astype(np.int64) & (2**bits - 1)
    sign = 2 ** (bits - 1) if int(dataset.PixelRepresentation) else 0
    return (values ^ sign) - sign


def show_values(stored: Values, dataset: Any) -> NDArray[np.float64]:
    """Return stored gray values, int64 (H, W), as shares of white, float64 0-1, by what the file says of them."""
    from pydicom.pixels.processing import apply_modality_lut, apply_voi

    values = apply_modality_lut(stored, dataset)
    if (tables := dataset.get("VOILUTSequence")) and tables[0].get("LUTData") is not None:
        last = 2 ** int(tables[0].LUTDescriptor[2]) - 1
        shown = np.asarray(apply_voi(np.asarray(values, np.int64), dataset, 0), np.float64)
        return np.asarray(np.clip(shown / last, 0, 1))
    if dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None:
        centers, widths = (np.atleast_1d(dataset[name].value) for name in ("WindowCenter", "WindowWidth"))
        function = _word(dataset, "VOILUTFunction") or "LINEAR"
        return apply_window(np.asarray(values, np.float64), float(centers[0]), float(widths[0]), function)
    low, high = find_range(stored, dataset)
    return np.clip((np.asarray(values, np.float64) - low) / (high - low), 0, 1)


def apply_window(values: NDArray[np.float64], center: float, width: float, function: str) -> NDArray[np.float64]:
    """Return the share of white that a window gives each value (DICOM PS3.3 C.11.2.1.2.1, C.11.2.1.3).

    Raises:
        DecodeError: a window of no width, or a function that the standard does not know.
    """
    if not (np.isfinite(center) and np.isfinite(width) and width > 0 and (width >= 1 or function != "LINEAR")):
        raise DecodeError("its window has no width")
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700))))
    if function == "LINEAR_EXACT":
        return np.clip((values - center) / width + 0.5, 0, 1)
    if function != "LINEAR":
        raise DecodeError("its VOI LUT Function is unknown; expected LINEAR, LINEAR_EXACT or SIGMOID")
    return np.clip((values - (center - 0.5)) / max(width - 1, 1e-9) + 0.5, 0, 1)


def find_range(stored: Values, dataset: Any) -> tuple[float, float]:
    """Return the values of black and white where the file has no window, after the modality LUT."""
    if tables := dataset.get("ModalityLUTSequence"):
        return 0.0, 2.0 ** int(tables[0].LUTDescriptor[2]) - 1
    bits = int(dataset.BitsStored)
    if int(dataset.PixelRepresentation):
        ends = -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1
    else:  # as scale_to_8_bits does with the same values in a PNG
        seen = stored[~find_padding(stored, dataset)]
        ends = 0.0, 2.0 ** next(each for each in SENSOR_BITS if int(seen.max(initial=0)) < 2**each) - 1
    slope, intercept = (
        float(dataset.get(name, default)) for name, default in (("RescaleSlope", 1), ("RescaleIntercept", 0))
    )
    low, high = sorted(slope * end + intercept for end in ends)
    if not high > low:
        raise DecodeError("its Rescale Slope is 0")
    return low, high


def find_padding(stored: Values, dataset: Any) -> NDArray[np.bool_]:
    """Return where the film is not, bool (H, W), as Pixel Padding Value and its Range Limit say."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, np.bool_)
    bits = 2 ** int(dataset.BitsStored)
    ends = [int(value), int(dataset.get("PixelPaddingRangeLimit", value))]
    if int(dataset.PixelRepresentation):  # its own type may be unsigned
        ends = [(end + bits // 2) % bits - bits // 2 for end in ends]
    return (stored >= min(ends)) & (stored <= max(ends))


def list_notes(dataset: Any) -> tuple[str, ...]:
    """Return what a reader of the picture should know."""
    notes = []
    n_windows = max(np.size(dataset.get("WindowCenter", 0)), len(dataset.get("VOILUTSequence") or ()))
    if n_windows > 1:
        notes.append("it has several windows, and is shown in the first")
    if (view := _word(dataset, "ViewPosition")) in LATERAL:
        notes.append(f"it is a lateral view (View Position {view}), not a frontal one")
    if (modality := _word(dataset, "Modality")) not in PROJECTIONS:
        notes.append(f"it is no plain X-ray (Modality {modality})")
    return tuple(notes)


def _word(dataset: Any, name: str) -> str:
    """Return a tag's value if it is one of DICOM's code words, else nothing: it may be anything."""
    value = str(dataset.get(name) or "")
    return value if re.fullmatch(r"[A-Z0-9_ ]{1,16}", value) else ""
