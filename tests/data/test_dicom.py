"""DICOM files drawn here: the pixels that the standard asks for, refusals by name, and no word of a patient."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.processing import apply_voi_lut
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from cxrflow.config.settings import IndexSettings
from cxrflow.data import dicom
from cxrflow.data.decode import decode_image, decode_indexed
from cxrflow.data.dicom import apply_window
from cxrflow.data.headers import DecodeError
from cxrflow.data.indexing import build_index, summarize_index
from tests.data.toy import draw, encode, make_folders

GRAY = draw(3, size=64)
DEEP = GRAY.astype(np.uint16) * 257 - np.arange(64, dtype=np.uint16)  # not a multiple: rounding counts
PATIENT = {"PatientName": "Secret^Sarah", "PatientID": "SECRET-4711", "PatientBirthDate": "19011231"}


def make_dicom(pixels: NDArray[Any], *, compress: str = "", **tags: Any) -> bytes:
    """Make a DICOM file of gray or colour pixels, with a patient's tags."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    bits = pixels.dtype.itemsize * 8
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.3", "DX"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    for name, value in {**PATIENT, **tags}.items():
        setattr(dataset, name, value)
    dataset.HighBit = tags.get("HighBit", dataset.BitsStored - 1)
    dataset.PixelData = pixels.tobytes()
    if compress == RLELossless:
        dataset.compress(RLELossless)
    elif compress:  # pydicom's own way needs packages more
        frame = io.BytesIO()
        kind: dict[str, Any] = {"format": "JPEG", "quality": 95}
        if compress == JPEG2000Lossless:
            kind = {"format": "JPEG2000", "no_jp2": True}
        Image.fromarray(pixels).save(frame, **kind)
        dataset.file_meta.TransferSyntaxUID = compress
        dataset.PixelData = pydicom.encaps.encapsulate([frame.getvalue()])
        dataset["PixelData"].VR = "OB"
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def make_lut(table: NDArray[Any]) -> Dataset:
    """Make an item of a LUT sequence, 16 bits wide, whose largest value is white."""
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [len(table), 0, int(table.max()).bit_length()], [int(v) for v in table]
    item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
    return item


def read(pixels: NDArray[Any], **tags: Any) -> NDArray[np.uint8]:
    data = make_dicom(pixels, **tags)
    decoded = decode_image(data)
    assert decoded.mode == "DICOM"
    np.testing.assert_array_equal(decode_indexed(data), decoded.gray)
    return decoded.gray


@pytest.mark.parametrize("pixels", [GRAY, DEEP, DEEP >> 4], ids=["8 bit", "16 bit", "12 bit"])
def test_pixels_are_those_of_a_png_with_the_same_values(pixels: NDArray[Any]) -> None:
    expected = decode_image(encode(pixels)).gray
    np.testing.assert_array_equal(read(pixels), expected)
    np.testing.assert_array_equal(read(pixels, PhotometricInterpretation="MONOCHROME1"), 255 - expected)
    np.testing.assert_array_equal(read(pixels, compress=JPEG2000Lossless), expected)
    bits = {"BitsStored": 12} if int(pixels.max()) < 4096 and pixels.dtype != np.uint8 else {}
    np.testing.assert_array_equal(read(pixels, **bits), expected)


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted"),
    [
        ("MONOCHROME1", None, True),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME1", "INVERSE", False),
        ("MONOCHROME2", "IDENTITY", False),
    ],
)
def test_inverted_by_one_of_two_tags_and_not_by_both(photometric: str, shape: str | None, inverted: bool) -> None:
    tags = {"PresentationLUTShape": shape} if shape else {}
    shown = read(GRAY, PhotometricInterpretation=photometric, **tags)
    np.testing.assert_array_equal(shown, 255 - GRAY if inverted else GRAY)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_a_window_is_that_of_the_standard(function: str) -> None:
    """Against pydicom's own, which gives the range of the stored bits."""
    tags = {"WindowCenter": 1900.3, "WindowWidth": 800, "VOILUTFunction": function, "BitsStored": 12}
    values = DEEP >> 4
    dataset = pydicom.dcmread(io.BytesIO(make_dicom(values, **tags)))
    expected = np.rint(np.asarray(apply_voi_lut(values, dataset), np.float64) * (255 / 4095))
    np.testing.assert_array_equal(read(values, **tags), expected)


def test_the_first_of_several_windows_counts_and_is_noted() -> None:
    one = read(GRAY, WindowCenter=100, WindowWidth=90)
    data = make_dicom(GRAY, WindowCenter=[100, 50], WindowWidth=[90, 10])
    np.testing.assert_array_equal(decode_image(data).gray, one)
    assert decode_image(data).notes == ("it has several windows, and is shown in the first",)


def test_a_rescale_comes_before_the_window_and_signed_values_keep_their_sign() -> None:
    signed = GRAY.astype(np.int16) - 100
    window = {"WindowCenter": 27.5 * 2 + 10, "WindowWidth": 2 * 255 + 1}
    np.testing.assert_allclose(read(signed, RescaleSlope=2, RescaleIntercept=10, **window), GRAY, atol=1)
    np.testing.assert_array_equal(read(GRAY, RescaleSlope=-1, RescaleIntercept=0), 255 - GRAY)
    np.testing.assert_array_equal(
        read((GRAY.astype(np.int16) - 128) * 256), np.rint(GRAY.astype(float) * 256 / 65535 * 255)
    )


def test_bits_above_the_stored_ones_do_not_count() -> None:
    low = (DEEP >> 4).astype(np.uint16)
    np.testing.assert_array_equal(read(low | 0x8000, BitsStored=12), read(low, BitsStored=12))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_widens_no_range(photometric: str) -> None:
    padded = (DEEP >> 4).copy()
    padded[:9] = 65535
    tags: dict[str, Any] = {"PixelPaddingValue": 65535, "PhotometricInterpretation": photometric}
    shown = read(padded, **tags)
    assert not shown[:9].any()
    np.testing.assert_array_equal(shown[9:], read(DEEP >> 4, PhotometricInterpretation=photometric)[9:])


def test_colour_is_its_luminance() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    shown = read(rgb, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    np.testing.assert_array_equal(shown, decode_image(encode(np.ascontiguousarray(rgb[..., ::-1]))).gray)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"NumberOfFrames": 2}, "several frames"),
        ({"Rows": 8}, "no X-ray is smaller"),
        ({"Rows": 60000, "Columns": 60000}, "max_image_mpx"),
        ({"PhotometricInterpretation": "HSV"}, "Photometric Interpretation is unknown"),
        ({"WindowCenter": 1, "WindowWidth": 0}, "window has no width"),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, "Rescale Slope is 0"),
    ],
)
def test_what_is_refused_is_refused_with_its_reason(tags: dict[str, Any], reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        decode_image(make_dicom(GRAY, **tags))


def test_a_missing_decoder_is_named_with_the_transfer_syntax(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = pydicom.dcmread(io.BytesIO(make_dicom(GRAY)))
    dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
    dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8" + bytes(98)])
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    with pytest.raises(DecodeError, match=r"JPEG-LS Lossless.*\(1.2.840.10008.1.2.4.80\).*pip install pylibjpeg "):
        decode_image(buffer.getvalue())
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(DecodeError, match="the package pydicom is missing: pip install pydicom"):
        decode_image(make_dicom(GRAY))


def test_a_picture_larger_than_the_file_says_is_not_unpacked() -> None:
    data = make_dicom(np.tile(GRAY, (8, 8)), compress=JPEG2000Lossless)
    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.Rows = dataset.Columns = 64
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    with pytest.raises(DecodeError, match="disagree about its size"):
        decode_image(buffer.getvalue())


@pytest.mark.parametrize("compress", ["", JPEG2000Lossless])
def test_damaged_files_neither_crash_nor_hang_nor_speak_of_a_patient(
    compress: str, capfd: pytest.CaptureFixture[str]
) -> None:
    whole, rng = make_dicom(GRAY, compress=compress, WindowCenter=100, WindowWidth=90), np.random.default_rng(0)
    damaged = [whole[:n] for n in range(140, len(whole), len(whole) // 40)]
    for _ in range(200):
        flipped = bytearray(whole)
        for place in rng.integers(132, min(len(whole), 900), 3):
            flipped[place] ^= 1 << int(rng.integers(8))
        damaged.append(bytes(flipped))
    reasons = []
    for data in damaged:
        try:
            decode_image(data, max_mpx=1)
        except DecodeError as error:
            reasons.append(str(error))
    shown = capfd.readouterr()
    assert len(reasons) > 40
    assert "secret" not in f"{reasons} {shown.out} {shown.err}".lower()


def test_a_lateral_view_is_noted_by_index_with_no_word_of_the_patient(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = make_folders(tmp_path)
    (tmp_path / "ill/side.dcm").write_bytes(make_dicom(GRAY, ViewPosition="LL", StudyDescription="SECRET Sarah"))
    (tmp_path / "ill/no suffix").write_bytes(make_dicom(DEEP, ViewPosition="PA"))
    index = build_index(tmp_path, settings, IndexSettings(), 2)
    assert {"ill/side.dcm", "ill/no suffix"} <= {row.path for row in index.rows}
    assert "of 1 image: it is a lateral view (View Position LL), not a frontal one" in index.notes
    shown = capfd.readouterr()
    text = f"{index.rows} {index.rejects} {summarize_index(index, 'toy', settings)} {shown}".lower()
    assert not any(value.lower().split("^")[0] in text for value in PATIENT.values())


def test_words_are_code_words_or_nothing() -> None:
    for value in ("Sarah", "sarah secret", "SECRET SARAH 19011231", "\x1b[2J"):
        assert not dicom._word({"Modality": value}, "Modality")


def test_a_window_of_one_level_is_a_step() -> None:
    np.testing.assert_array_equal(apply_window(np.array([4.0, 5.0]), 5.0, 1.0, "LINEAR"), [0, 1])
