"""How datasets lie on disk: a module per reader, named in the table `cxrflow.config.readers.READERS`.

A reader only lists what lies where its layout has it. What is left out by name, what a class is, who a patient is and
what the layout does not reach is settled here, by the same steps for every reader. A dataset laid out as one folder per
class, or as a table and images, needs no reader of its own: `folders` and `csv` read it with a few lines of YAML.
"""

import importlib
from collections import Counter
from pathlib import Path

from cxrflow.config.readers import READERS
from cxrflow.config.settings import DatasetSettings
from cxrflow.data.readers.base import Listing, describe_folder
from cxrflow.data.readers.classes import choose_classes, suggest_classes
from cxrflow.data.readers.lesion_masks import add_lesion_masks
from cxrflow.data.readers.patients import settle_patients
from cxrflow.data.readers.skipping import drop_skipped, note_unread, skip_finder
from cxrflow.errors import CxrflowError


def reader_module(reader: str) -> str:
    """Return the dotted name of the module that reads a layout."""
    return f"{__name__}.{READERS[reader].module}"


def list_dataset(folder: Path, settings: DatasetSettings) -> Listing:
    """List a dataset's images with its reader and its lesion masks.

    Raises:
        CxrflowError: no folder, another layout, fewer than two classes, what is no class or patient, an image_id twice,
        or masks that fit no image.
    """
    reader = READERS.get(settings.reader)
    if reader is None:
        raise CxrflowError(f"reader {settings.reader!r} is not known; known: {', '.join(READERS)}")
    if not folder.is_dir():
        raise CxrflowError(
            f"{folder} is not a folder: put {reader.layout} into it, or correct data_root or the dataset's folder"
        )
    listing: Listing = importlib.import_module(reader_module(settings.reader)).list_images(folder, settings)
    find_skip = skip_finder(settings.skip)
    listing = note_unread(folder, drop_skipped(listing, find_skip), settings.lesion_masks, find_skip)
    listing = choose_classes(folder, listing, settings.classes)
    listing = settle_patients(folder, listing, settings.patient_pattern)
    check_listing(folder, listing)
    return add_lesion_masks(folder, settings.lesion_masks, listing) if settings.lesion_masks else listing


def check_listing(folder: Path, listing: Listing) -> None:
    """Check that a listing can become a dataset.

    Raises:
        CxrflowError: fewer than two classes, or one image_id for two images.
    """
    classes = Counter(each.label for each in listing.candidates)
    if len(classes) < 2:
        found = ", ".join(f"{name} ({n} images)" for name, n in classes.items()) or "no class"
        missing = (
            f"; its table lists {listing.listed_missing} more images that are missing" if listing.listed_missing else ""
        )
        raise CxrflowError(
            f"{folder} has {found}, and a classifier needs two{missing}; {describe_folder(folder)}. Which labels are"
            f" classes is set by {suggest_classes(listing)}{listing.write_notes()}"
        )
    paths: dict[str, str] = {}
    for each in listing.candidates:
        if each.image_id in paths:
            raise CxrflowError(
                f"{folder}: {paths[each.image_id]} and {each.path} would both be image {each.image_id!r}:"
                " remove one of them, rename it, or name its folder under `skip`"
            )
        paths[each.image_id] = each.path
