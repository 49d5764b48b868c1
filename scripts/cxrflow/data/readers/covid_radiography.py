"""COVID-19 Radiography Database (Chowdhury et al. 2020, Rahman et al. 2021), as Kaggle publishes it.

Reads the names in `COVID-19_Radiography_Dataset/{COVID,Normal,Viral Pneumonia}/images/` and `masks/`, and the flat
`{class}/*.png` of older releases. `Lung_Opacity` is left out, as in the study, unless the setting `classes` names it.
The set names no patients: several X-rays of one patient can therefore fall into different subsets, which no split can
prevent.
"""

from collections.abc import Collection
from pathlib import Path

from cxrflow.config.settings import DatasetSettings
from cxrflow.data.readers.base import Candidate, Listing, folder_names, image_names, layout_error, relative_path
from cxrflow.data.readers.keys import loose_key, stem_key
from cxrflow.files.records import RegionRow

ROOTS = ("", "COVID-19_Radiography_Dataset", "COVID-19_Radiography_Database", "COVID-19 Radiography Database")
STUDY_CLASSES = ("COVID", "Normal", "Viral Pneumonia")
# Folder names of all releases, by their loose key.
LABELS = {loose_key(name): name for name in (*STUDY_CLASSES, "Lung_Opacity")} | {loose_key("COVID-19"): "COVID"}


def list_images(folder: Path, settings: DatasetSettings) -> Listing:
    """List the images of all four classes with their lung masks.

    Raises:
        CxrflowError: none of the known folders, or not all classes that are kept.
    """
    wanted = {LABELS.get(loose_key(name), name) for name in settings.classes} or set(STUDY_CLASSES)
    root = _find_root(folder, wanted)
    listing = Listing([], classes=dict(zip(STUDY_CLASSES, STUDY_CLASSES, strict=True)))
    for name in folder_names(root):
        if loose_key(name) in LABELS:
            _add_class(listing, folder, root / name, LABELS[loose_key(name)])
    return listing


def _find_root(folder: Path, wanted: Collection[str]) -> Path:
    for name in ROOTS:
        found = {LABELS.get(loose_key(each)) for each in folder_names(folder / name)}
        if found.issuperset(wanted):
            return folder / name
    folders = " and ".join(f"{label}/" for label in sorted(wanted))
    raise layout_error(folder, f"COVID-19_Radiography_Dataset/ with the folders {folders}")


def _image_folder(class_folder: Path) -> Path:
    """Return `images/` where it exists, else the class's folder itself, as in releases before the masks."""
    return class_folder / "images" if (class_folder / "images").is_dir() else class_folder


def _add_class(listing: Listing, folder: Path, class_folder: Path, label: str) -> None:
    images = _image_folder(class_folder)
    masks = {stem_key(name): name for name in image_names(class_folder / "masks")}
    for name in image_names(images):
        image_id = Path(name).stem
        listing.candidates.append(Candidate(image_id, relative_path(images, folder, name), label, "", ""))
        if mask := masks.get(stem_key(name)):
            mask_path = relative_path(class_folder / "masks", folder, mask)
            listing.regions.append(RegionRow(image_id, "lungs", 0.0, 0.0, 0.0, 0.0, mask_path))
