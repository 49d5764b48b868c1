"""What a dataset's settings leave out by name, and what a reader's layout does not reach. Reads names only."""

import fnmatch
import functools
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from cxrflow.data.readers.base import Listing, describe_others, escape_name, walk_images
from cxrflow.data.readers.keys import clean_name, quote_names
from cxrflow.files.records import RejectRow


def skip_finder(patterns: Iterable[str]) -> Callable[[str], str]:
    """Return the function that finds the pattern of `skip` that leaves a relative path out; empty: none does.

    A pattern is the name of a folder or file, or with a slash the path of one; case and Unicode form do not count.
    """
    forms = {each: re.compile(fnmatch.translate(clean_name(each).casefold().strip("/"))) for each in patterns}

    @functools.cache
    def find(path: str) -> str:
        folder, _, name = path.rpartition("/")
        texts = [clean_name(text).casefold() for text in (name, path)]
        fitting = (pattern for pattern, form in forms.items() if any(map(form.match, texts)))
        return (find(folder) if folder else "") or next(fitting, "")

    return find


def drop_skipped(listing: Listing, find_skip: Callable[[str], str]) -> Listing:
    """Move every candidate that `skip` leaves out to the rejects."""
    kept = [each for each in listing.candidates if not find_skip(each.path)]
    rejects = [
        skipped_row(each.path, pattern, each.image_id)
        for each in listing.candidates
        if (pattern := find_skip(each.path))
    ]
    return replace(listing, candidates=kept, rejects=[*listing.rejects, *rejects])


def skipped_row(path: str, pattern: str, image_id: str = "") -> RejectRow:
    """Return the reject of a path that a pattern of `skip` leaves out."""
    return RejectRow(image_id or path, path, "", "selection", f"{pattern!r} is left out (skip)")


def note_unread(folder: Path, listing: Listing, lesion_masks: str, find_skip: Callable[[str], str]) -> Listing:
    """Note the image files below the folder that the reader's layout does not reach, and how many are no images."""
    known = {each.path for each in listing.candidates} | {row.path for row in listing.rejects}
    known |= {row.mask_path for row in listing.regions}
    closed: list[OSError] = []
    others: Counter[str] = Counter()
    reached = {folder for path in known for folder in _folders_above(path)}
    unread = Counter(
        next((place for place in _folders_above(path) if place not in reached), path.rpartition("/")[0] or ".")
        for path in walk_images(folder, lesion_masks, on_closed=closed.append, others=others)
        if path not in known and not find_skip(path)
    )
    notes = [
        f"{escape_name(error.filename)} cannot be opened, and no image of the layout was expected there"
        for error in closed
    ]
    if unread:
        places = quote_names(map(escape_name, sorted(unread)))
        notes.append(f"{unread.total():,} image files lie where this layout has none and are not read, in {places}")
    del others[".csv"]  # tables, which the readers name
    notes += filter(None, [describe_others(others)])
    return replace(listing, notes=[*listing.notes, *notes])


def _folders_above(path: str) -> list[str]:
    """Return the folders that a relative path lies in, outermost first."""
    return [path[:place] for place, sign in enumerate(path) if sign == "/"]
