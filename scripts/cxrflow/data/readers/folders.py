"""Any tree with one folder per class: a dataset of one's own with a few lines of YAML.

Reads the names of the images below the dataset's folder. Without `classes`, the outermost folder names the class.
With `classes`, the innermost folder on an image's path that is a key of it does, so that `train/NORMAL/x.png`
works, too; a folder named train, val or test is then a part of the dataset's own split.
"""

from pathlib import Path

from cxrflow.config.settings import DatasetSettings
from cxrflow.data.readers.base import (
    Candidate,
    Listing,
    describe_folder,
    escape_name,
    folder_names,
    walk_dataset,
)
from cxrflow.data.readers.keys import part_of, quote_names
from cxrflow.data.readers.selection import ClassMap, skip_finder, skipped_row
from cxrflow.errors import CxrflowError
from cxrflow.files.records import RejectRow


def list_images(folder: Path, settings: DatasetSettings) -> Listing:
    """List the images of every class folder.

    Raises:
        CxrflowError: no image at all.
    """
    listing = Listing([])
    paths = walk_dataset(folder, settings.lesion_masks, listing.notes)
    if not paths:
        raise CxrflowError(f"{folder} has no images below it: expected one folder per class; {describe_folder(folder)}")
    find_skip, classes = skip_finder(settings.skip), ClassMap(settings.classes)
    barren = sorted(set(folder_names(folder)) - {path.split("/")[0] for path in [*paths, settings.lesion_masks]})
    read = {(folder / path.split("/")[0]).resolve() for path in paths}  # a link to one of these is told already
    if barren := [name for name in barren if not find_skip(name) and (folder / name).resolve() not in read]:
        listing.notes.append(f"no image at all in the folder(s) {quote_names(map(escape_name, barren))}")
    for path in paths:
        parts = path.split("/")[:-1]
        depth = _class_depth(parts, classes)
        if depth is None:
            pattern = find_skip(path)
            reason = "it lies in no folder of a class"
            row = skipped_row(path, pattern) if pattern else RejectRow(path, path, "", "selection", reason)
            listing.rejects.append(row)
            continue
        named = set(map(part_of, parts[:depth] + parts[depth + 1 :])) - {""}
        part = named.pop() if len(named) == 1 else ""  # `validation/train/` says nothing for sure
        source = "/".join(parts[:depth])
        listing.candidates.append(Candidate(path, path, parts[depth], "", source, part))
    return listing


def _class_depth(parts: list[str], classes: ClassMap) -> int | None:
    """Return the place in an image's folders of the one that names its class."""
    if not classes.exact:
        return 0 if parts else None
    return next((i for i in reversed(range(len(parts))) if classes.find(parts[i]) is not None), None)
