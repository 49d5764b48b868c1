"""Tiny datasets drawn for tests: a few gray squares in the layouts of the readers."""

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from cxrflow.config.settings import DatasetSettings
from cxrflow.files.records import IndexRow


def draw(number: int, size: int = 24) -> NDArray[np.uint8]:
    """Return uint8 (size, size) noise; another number gives other pixels."""
    return np.random.default_rng(number).integers(0, 256, (size, size), dtype=np.uint8)


def encode(pixels: NDArray[np.generic], suffix: str = ".png") -> bytes:
    """Encode pixels in a file format."""
    return cv2.imencode(suffix, pixels)[1].tobytes()


def write_image(path: Path, number: int, size: int = 24) -> None:
    """Write an image of the format of the path's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(draw(number, size), path.suffix.lower()))


def make_covid(folder: Path, per_class: int = 4) -> DatasetSettings:
    """Make the current layout, with masks for COVID and the class that is left out."""
    root = folder / "COVID-19_Radiography_Dataset"
    for kind, label in enumerate(["COVID", "Lung_Opacity", "Normal", "Viral Pneumonia"]):
        for number in range(1, per_class + 1):
            write_image(root / label / "images" / f"{label}-{number}.png", 100 * kind + number)
    for number in range(1, per_class + 1):
        write_image(root / "COVID" / "masks" / f"COVID-{number}.png", 900 + number)
    return DatasetSettings(reader="covid_radiography", folder=folder.name)


def make_kermany(folder: Path) -> DatasetSettings:
    """Make the Kaggle layout with its second copy and with what macOS leaves behind."""
    names = {
        "train/PNEUMONIA": ["person1_bacteria_1", "person1_bacteria_2", "person2_bacteria_3", "person1_virus_4"],
        "test/PNEUMONIA": ["person1_bacteria_9", "person3_virus_7"],
        "train/NORMAL": ["IM-0115-0001", "NORMAL2-IM-0115-0001", "IM-0117-0001-0001", "IM-0117-0001-0002"],
        "val/NORMAL": ["NORMAL2-IM-1427-0001"],
    }
    number = 0
    for root in ("chest_xray", "chest_xray/chest_xray"):
        for place, stems in names.items():
            for stem in stems:
                number += 1
                write_image(folder / root / place / f"{stem}.jpeg", number)
    for litter in ("chest_xray/__MACOSX/train/NORMAL/._IM-0115-0001.jpeg", "chest_xray/train/NORMAL/.DS_Store"):
        (folder / litter).parent.mkdir(parents=True, exist_ok=True)
        (folder / litter).write_bytes(b"\0\5\x16\7 not an image")
    (folder / "chest_xray/train/NORMAL/._IM-0115-0001.jpeg").write_bytes(b"\0\5\x16\7 not an image")
    return DatasetSettings(reader="kermany", folder=folder.name)


NIH_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
NIH_ROWS = (  # file, findings, follow-up, patient
    ("00000001_000.png", "Cardiomegaly", 0, 1),
    ("00000001_001.png", "Cardiomegaly|Effusion", 1, 1),
    ("00000002_000.png", "No Finding", 3, 2),
    ("00000002_001.png", "No Finding", 1, 2),
    ("00000003_000.png", "Mass|Nodule", 0, 3),
    ("00000003_001.png", "Mass|Hernia", 1, 3),
    ("00000004_000.png", "No Finding", 0, 4),
    ("00000005_000.png", "Infiltration", 0, 5),
    ("00000006_000.png", "Pneumothorax", 0, 6),
)


def make_nih(folder: Path, missing: Sequence[str] = ("00000006_000.png",), size: int = 64) -> DatasetSettings:
    """Make a partial download: the whole table, boxes, and all files but the missing ones."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        f"{name},{findings},{follow_up},{patient},57,M,PA,2682,2749,0.14,0.14"
        for name, findings, follow_up, patient in NIH_ROWS
    ]
    (folder / "Data_Entry_2017.csv").write_text("\n".join([NIH_HEADER, *lines]) + "\n")
    boxes = ["00000005_000.png,Infiltrate,512.0,256.0,128.0,64.0,,,", "00000005_000.png,Pneumonia,1,2,3,4,,,"]
    (folder / "BBox_List_2017.csv").write_text(
        "\n".join(["Image Index,Finding Label,Bbox [x,y,w,h],,,", *boxes]) + "\n"
    )
    for number, (name, *_) in enumerate(NIH_ROWS):
        if name not in missing:
            write_image(folder / f"images_00{1 + number % 2}" / "images" / name, number, size)
    return DatasetSettings(reader="nih", folder=folder.name)


def make_folders(folder: Path, per_class: int = 4) -> DatasetSettings:
    """Make one folder per class, two images of every patient."""
    for kind, label in enumerate(["healthy", "ill"]):
        for number in range(per_class):
            write_image(folder / label / f"p{number // 2}_{number}.png", 100 * kind + number)
    return DatasetSettings(reader="folders", folder=folder.name)


def make_csv(folder: Path) -> DatasetSettings:
    """Make a table and images; one listed file is missing, one label is not a class."""
    rows = [
        ("a.png", "0", "p1"),
        ("sub/b.png", "1", "p1"),
        ("c.png", "1", "p2"),
        ("gone.png", "1", "p3"),
        ("d.png", "2", "p4"),
    ]
    for number, (name, _, _) in enumerate(rows):
        if name != "gone.png":
            write_image(folder / "films" / name, number)
    lines = [
        f"films/{name},{label},{patient}" if name != "c.png" else f"c.png,{label},{patient}"
        for name, label, patient in rows
    ]
    (folder / "labels.csv").write_text("\n".join(["file,target,who", *lines]) + "\n")
    return DatasetSettings(
        reader="csv",
        folder=folder.name,
        table="labels.csv",
        image_column="file",
        label_column="target",
        patient_column="who",
        classes={"0": "normal", "1": "pneumonia"},
    )


MAKERS: dict[str, Callable[[Path], DatasetSettings]] = {
    "covid_radiography": make_covid,
    "kermany": make_kermany,
    "nih": make_nih,
    "folders": make_folders,
    "csv": make_csv,
}


def index_row(image_id: str, label: str = "a", patient_id: str = "", pixel_sha256: str = "") -> IndexRow:
    """Return an index row; by default a patient and pixels of its own."""
    return IndexRow(
        image_id=image_id,
        path=f"{image_id}.png",
        label=label,
        patient_id=patient_id or image_id,
        source="",
        width=8,
        height=8,
        mode="L",
        sha256="",
        pixel_sha256=pixel_sha256 or f"pixels of {image_id}",
    )


def real_data(name: str) -> Path:
    """Return the folder of a real dataset, or skip the test if it does not exist."""
    root = os.environ.get("CXRFLOW_REAL_DATA", Path(__file__).parents[2].parent / "shared/data/raw")
    folder = Path(root) / name
    if not folder.is_dir():
        pytest.skip(f"no real X-rays at {folder}; set CXRFLOW_REAL_DATA")
    return folder


def refuse_to_open(monkeypatch: pytest.MonkeyPatch, closed: Path) -> None:
    """Let the system refuse to open one folder; root's own rights would open any."""
    scandir = os.scandir

    def open_or_refuse(place: str) -> Any:
        if Path(place) == closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", open_or_refuse)
