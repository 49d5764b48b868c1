"""Which of the files that a reader found count, and as which class: `skip` and `classes`, for every reader alike."""

import fnmatch
import functools
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cxrflow.data.readers.base import Candidate, Listing, describe_folder, describe_others, escape_name, walk_images
from cxrflow.data.readers.keys import clean_name, is_blank, is_container, loose_key, part_of, quote_names, stem_key
from cxrflow.errors import CxrflowError
from cxrflow.files.records import RejectRow

PATIENT_FOLDER = re.compile(r"(p|pat|patient|case|subj|subject|id|s)?[ _-]?\d+", re.IGNORECASE)


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


def note_twins(listing: Listing) -> Listing:
    """Note files named like another one of their class and part, where the dataset names no patients."""
    twins: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for each in listing.candidates:
        of_patient = PATIENT_FOLDER.fullmatch(Path(each.path).parent.name)  # in each of these the numbers begin anew
        if not (each.patient_id or of_patient):
            twins[each.label, each.part, stem_key(each.path)].append(each.path)
    found = [paths for paths in twins.values() if len(paths) > 1]
    if not found:
        return listing
    note = (
        f"{sum(map(len, found)) - len(found):,} files are named like another one of their class, such as"
        f" {quote_names(map(escape_name, found[0]))}: where they are thumbnails, masks or copies, leave them out with"
        " `skip`"
    )
    return replace(listing, notes=[*listing.notes, note])


class ClassMap:
    """The classes to keep, found by label; an equal label goes before one that differs in case or number format."""

    def __init__(self, classes: Mapping[str, str]) -> None:
        """Keep {label: class name}; without any, every label is a class."""
        self.exact = {clean_name(label): name for label, name in classes.items()}
        self.loose: dict[str, dict[str, str]] = defaultdict(dict)  # key -> {class name: label}
        for label, name in classes.items():
            self.loose[loose_key(label)][name] = label

    def find(self, label: str) -> str | None:
        """Return the class name of a label; None: it is not among the classes, or stands for several of them."""
        label = clean_name(label)
        if not self.exact:
            return label
        names = list(self.loose.get(loose_key(label), ()))
        return self.exact.get(label) or (names[0] if len(names) == 1 else None)

    def is_exact(self, label: str) -> bool:
        """Say whether a label is written as in the settings."""
        return not self.exact or clean_name(label) in self.exact


def choose_classes(folder: Path, listing: Listing, wanted: Mapping[str, str]) -> Listing:
    """Name the class of every candidate and move those of no class to the rejects.

    wanted: {label: class name} of the settings; empty: the reader's own classes, or else every label.

    Raises:
        CxrflowError: a wanted class has no image, or without `wanted` a label is not plainly a class.
    """
    classes = wanted or listing.classes
    if not classes:
        check_names(folder, listing)
    class_map = ClassMap(classes)
    names = {label: class_map.find(label) for label in {each.label for each in listing.candidates}}
    kept = [replace(each, label=name) for each in listing.candidates if (name := names[each.label]) is not None]
    rejects = [_refuse(each) for each in listing.candidates if names[each.label] is None]
    chosen = replace(listing, candidates=kept, rejects=[*listing.rejects, *rejects])
    if wanted:
        _check_wanted(folder, listing, chosen, wanted)
    if lacking := sorted(set(listing.classes.values()).difference(each.label for each in kept)) if not wanted else []:
        chosen = replace(chosen, notes=[*chosen.notes, f"no image at all of the class(es) {quote_names(lacking)}"])
    inexact = sorted(label for label, name in names.items() if name is not None and not class_map.is_exact(label))
    notes = [
        f"label {label!r} counts as class {names[label]!r}, whose label in `classes` is written differently"
        for label in inexact
    ]
    return replace(chosen, notes=[*chosen.notes, *notes])


def _refuse(each: Candidate) -> RejectRow:
    reason = f"its label {each.label!r} is not a class of the study" if each.label else "it has no label"
    return RejectRow(each.image_id, each.path, each.label, "selection", reason)


def _check_wanted(folder: Path, found: Listing, chosen: Listing, wanted: Mapping[str, str]) -> None:
    lacking = sorted(set(wanted.values()) - {each.label for each in chosen.candidates})
    if not lacking:
        return
    labels = Counter(each.label for each in found.candidates)
    labels.update(row.label for row in found.rejects if row.kind == "missing")
    values = ", ".join(f"{label!r} ({n})" for label, n in labels.most_common(12)) or "none"
    keys = " or ".join(repr(label) for label, name in wanted.items() if name in lacking)
    missing = f"; {found.listed_missing:,} of the listed images have no file" if found.listed_missing else ""
    raise CxrflowError(
        f"{folder} has no image of the class(es) {', '.join(lacking)}: expected the label {keys} (classes in the"
        f" config); the labels found are {values}{missing}; {describe_folder(folder)}{chosen.write_notes()}"
    )


# What a label that is no class looks like, how to say so, and what to write besides `classes`.
SUSPICIONS: tuple[tuple[Callable[[str], object], str, str], ...] = (
    (is_blank, "looks like an empty cell", ""),
    (part_of, "looks like a part of a split", "; to keep that split, write `split.source: published`, too"),
    (is_container, "says how files are stored, not what they show", "; to leave a folder out, name it under `skip`"),
)


def check_names(folder: Path, listing: Listing) -> None:
    """Check that every label is plainly a class, where the settings name none.

    Raises:
        CxrflowError: labels look like empty cells, parts of a split or folders of files, or differ in case alone.
    """
    labels = Counter(clean_name(each.label) for each in listing.candidates)
    counts = ", ".join(f"{label!r} ({n})" for label, n in labels.most_common(12))
    for looks_odd, what, more in SUSPICIONS:
        odd = sorted(filter(looks_odd, labels))
        if odd:
            raise CxrflowError(
                f"{folder} has the labels {counts}, and {quote_names(odd)} {what}: write which labels are classes,"
                f" such as {suggest_classes(listing, odd)}; the others are left out and counted{more}"
            )
    keys: dict[str, list[str]] = defaultdict(list)
    for label in sorted(labels):
        keys[re.sub(r"(?<=\w)[\s_-]+(?=[^\W_])", "", loose_key(label))].append(label)
    for twins in keys.values():
        if len(twins) > 1:
            both = json.dumps(dict.fromkeys(twins, twins[0]), ensure_ascii=False)
            raise CxrflowError(
                f"{folder} has the labels {counts}, and {quote_names(twins)} differ in case, number format or what"
                f" parts words alone: write every label with its class, for one class `classes: {both}` and the others"
            )
    _check_structure(folder, listing, counts)


def _check_structure(folder: Path, listing: Listing, counts: str) -> None:
    """Stop where every label's folder holds the same folders: labels may be hospitals, and those the classes."""
    inner: dict[str, set[str]] = {clean_name(each.label): set() for each in listing.candidates}
    for each in listing.candidates:
        outer, *folders = each.path.split("/")[:-1] or [""]
        plain = [name for name in folders if outer == each.label and not part_of(name) and not is_container(name)]
        inner[clean_name(each.label)].update(map(clean_name, plain[:1]))
    everywhere = set.intersection(*inner.values()) if len(inner) > 1 else set[str]()
    shared = sorted(name for name in everywhere if not PATIENT_FOLDER.fullmatch(name))
    if len(shared) > 1:
        own, theirs = (
            json.dumps(dict(zip(names, names, strict=True)), ensure_ascii=False) for names in (inner, shared)
        )
        raise CxrflowError(
            f"{folder} has the labels {counts}, and the folders of all hold {quote_names(shared)}: write which of the"
            f" two are classes, `classes: {theirs}` or `classes: {own}`"
        )


def suggest_classes(listing: Listing, odd: Sequence[str] = ()) -> str:
    """Return a line for the config: the labels that are plainly classes, or the folders below the odd ones."""
    names = {clean_name(each.label) for each in listing.candidates}.difference(odd)
    for each in listing.candidates:
        folders = each.path.split("/")[:-1]
        if folders and folders[0] == each.label and (each.label in odd or not odd):
            plain = [name for name in folders[1:] if not part_of(name) and not is_container(name)]
            names.update(plain[-1:])
            names.discard("" if odd or not plain else each.label)
    shown = {name: name for name in sorted(names)[:8]} if len(names) > 1 else {"label": "class name"}
    return f"`classes: {json.dumps(shown, ensure_ascii=False)}`"
