"""COVID-19 Radiography Database (Chowdhury et al. 2020, Rahman et al. 2021), as Kaggle publishes it.

Reads the names in `COVID-19_Radiography_Dataset/{COVID,Normal,Viral Pneumonia}/images/` and `masks/`, and the flat
`{class}/*.png` of older releases. `Lung_Opacity` is left out, as in the study. The set names no patients: several
X-rays of one patient can therefore fall into different subsets, which no split can prevent.
"""

from pathlib import Path

from cxrflow.config.settings import DatasetSettings
from cxrflow.data.readers.base import Candidate, Listing, folder_names, image_names, layout_error, relative_path
from cxrflow.files.records import RegionRow, RejectRow

ROOTS = ("", "COVID-19_Radiography_Dataset", "COVID-19_Radiography_Database", "COVID-19 Radiography Database")
# Folder names of all releases, in lower case.
LABELS = {"covid": "COVID", "covid-19": "COVID", "normal": "Normal", "viral pneumonia": "Viral Pneumonia"}
LEFT_OUT = {"lung_opacity": "Lung_Opacity"}


def list_images(folder: Path, settings: DatasetSettings) -> Listing:
    """List the three classes, the left out fourth one, and the lung masks.

    Raises:
        CxrflowError: none of the known folders, or not all three classes.
    """
    root = _find_root(folder)
    listing = Listing([])
    for name in folder_names(root):
        if name.lower() in LABELS:
            _add_class(listing, folder, root / name, LABELS[name.lower()])
        elif name.lower() in LEFT_OUT:
            _leave_out(listing, folder, root / name, LEFT_OUT[name.lower()])
    return listing


def _find_root(folder: Path) -> Path:
    for name in ROOTS:
        found = {LABELS.get(each.lower()) for each in folder_names(folder / name)}
        if set(LABELS.values()) <= found:
            return folder / name
    raise layout_error(folder, "COVID-19_Radiography_Dataset/ with the folders COVID/, Normal/ and Viral Pneumonia/")


def _image_folder(class_folder: Path) -> Path:
    """Return `images/` where it exists, else the class's folder itself, as in releases before the masks."""
    return class_folder / "images" if (class_folder / "images").is_dir() else class_folder


def _add_class(listing: Listing, folder: Path, class_folder: Path, label: str) -> None:
    images = _image_folder(class_folder)
    masks = set(image_names(class_folder / "masks"))
    for name in image_names(images):
        image_id = Path(name).stem
        path = relative_path(images, folder, name)
        listing.candidates.append(Candidate(image_id, path, label, patient_id=image_id, source=""))
        if name in masks:
            mask = relative_path(class_folder / "masks", folder, name)
            listing.regions.append(RegionRow(image_id, "lungs", 0.0, 0.0, 0.0, 0.0, mask))


def _leave_out(listing: Listing, folder: Path, class_folder: Path, label: str) -> None:
    images = _image_folder(class_folder)
    for name in image_names(images):
        path = relative_path(images, folder, name)
        listing.rejects.append(
            RejectRow(Path(name).stem, path, label, "selection", f"{label} is not a class of the study")
        )
