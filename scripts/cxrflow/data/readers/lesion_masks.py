"""Lesion masks of one's own beside any layout: PNG files named like the images."""

import dataclasses
import posixpath
from collections import defaultdict
from pathlib import Path

from cxrflow.data.readers.base import Listing, describe_folder, walk_images
from cxrflow.data.readers.keys import clean_name, quote_names
from cxrflow.errors import CxrflowError
from cxrflow.files.records import RegionRow


def add_lesion_masks(folder: Path, masks: str, listing: Listing) -> Listing:
    """Add a lesion mask to every image that has one; its boxes are dropped, because the mask is the finer outline.

    masks: folder relative to the dataset's, of PNG files named like the images.

    Raises:
        CxrflowError: no such folder, no mask in it is named like an image, or two masks are named like one image.
    """
    masks = posixpath.normpath(masks)
    paths = [f"{masks}/{path}" for path in walk_images(folder / masks) if path.lower().endswith(".png")]
    by_key, stems = defaultdict[str, list[str]](list), {_key(each.path) for each in listing.candidates}
    for path in paths:
        by_key[_key(path)].append(path)
    if not stems.intersection(by_key):
        raise CxrflowError(
            f"{folder / masks} (lesion_masks) has no mask named like an image: expected PNG files such as"
            f" {Path(listing.candidates[0].path).stem}.png; {describe_folder(folder / masks)}"
        )
    if twins := next((found for key, found in by_key.items() if key in stems and len(found) > 1), None):
        raise CxrflowError(f"{folder}: {quote_names(twins)} are named like one image: keep one of them in {masks}")
    masked = {each.image_id: by_key[key][0] for each in listing.candidates if (key := _key(each.path)) in by_key}
    boxes_left = [row for row in listing.regions if row.kind != "lesion" or row.image_id not in masked]
    added = [RegionRow(image_id, "lesion", 0.0, 0.0, 0.0, 0.0, path) for image_id, path in masked.items()]
    strange = sorted(found[0] for key, found in by_key.items() if key not in stems)
    notes = [f"{len(strange):,} lesion masks are named like no image: {quote_names(strange)}"] if strange else []
    return dataclasses.replace(listing, regions=boxes_left + added, notes=[*listing.notes, *notes])


def _key(path: str) -> str:
    return clean_name(Path(path).stem).casefold()
