"""How datasets lie on disk: a module per reader, named in the table `cxrflow.config.readers.READERS`.

A reader only lists what lies where its layout has it. What is left out by name, what a class is, who a patient is and
what the layout does not reach is settled here, by the same steps for every reader. A dataset laid out as one folder per
class, or as a table and images, needs no reader of its own: `folders` and `csv` read it with a few lines of YAML.
"""

import dataclasses
import importlib
import posixpath
from collections import Counter, defaultdict
from pathlib import Path

from cxrflow.config.readers import READERS
from cxrflow.config.settings import DatasetSettings
from cxrflow.data.readers.base import Listing, describe_folder, walk_images
from cxrflow.data.readers.keys import quote_names, stem_key
from cxrflow.data.readers.patients import settle_patients
from cxrflow.data.readers.selection import (
    choose_classes,
    drop_skipped,
    note_twins,
    note_unread,
    skip_finder,
    suggest_classes,
)
from cxrflow.errors import CxrflowError
from cxrflow.files.records import RegionRow


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
    listing = note_twins(choose_classes(folder, listing, settings.classes))
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


def add_lesion_masks(folder: Path, masks: str, listing: Listing) -> Listing:
    """Add a lesion mask to every image that has one; its boxes are dropped, because the mask is the finer outline.

    masks: folder relative to the dataset's, of PNG files named like the images.

    Raises:
        CxrflowError: no such folder, no mask in it is named like an image, or two masks are named like one image.
    """
    masks = posixpath.normpath(masks)
    paths = [f"{masks}/{path}" for path in walk_images(folder / masks) if path.lower().endswith(".png")]
    by_key, stems = defaultdict[str, list[str]](list), {stem_key(each.path) for each in listing.candidates}
    for path in paths:
        by_key[stem_key(path)].append(path)
    if not stems.intersection(by_key):
        raise CxrflowError(
            f"{folder / masks} (lesion_masks) has no mask named like an image: expected PNG files such as"
            f" {Path(listing.candidates[0].path).stem}.png; {describe_folder(folder / masks)}"
        )
    if twins := next((found for key, found in by_key.items() if key in stems and len(found) > 1), None):
        raise CxrflowError(f"{folder}: {quote_names(twins)} are named like one image: keep one of them in {masks}")
    masked = {each.image_id: by_key[key][0] for each in listing.candidates if (key := stem_key(each.path)) in by_key}
    boxes_left = [row for row in listing.regions if row.kind != "lesion" or row.image_id not in masked]
    added = [RegionRow(image_id, "lesion", 0.0, 0.0, 0.0, 0.0, path) for image_id, path in masked.items()]
    strange = sorted(found[0] for key, found in by_key.items() if key not in stems)
    notes = [f"{len(strange):,} lesion masks are named like no image: {quote_names(strange)}"] if strange else []
    return dataclasses.replace(listing, regions=boxes_left + added, notes=[*listing.notes, *notes])
