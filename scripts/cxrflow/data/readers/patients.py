"""Who is a patient: one normal form for every reader, so that no way of writing a name lets one cross subsets."""

import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from cxrflow.data.readers.base import Candidate, Listing
from cxrflow.data.readers.keys import clean_name, is_blank, loose_key
from cxrflow.errors import CxrflowError


def settle_patients(folder: Path, listing: Listing, pattern: str) -> Listing:
    """Give every candidate its patient: the reader's, or the pattern's, or itself.

    Names that differ in blanks, hyphens, Unicode form, case or number format are joined and noted. They may be two
    patients, but joining only makes a group larger, and parting one patient would leak.

    pattern: regular expression with a group named patient, searched for in the path; empty: none.

    Raises:
        CxrflowError: the pattern is wrong or finds no patient, or a patient looks like an empty cell.
    """
    notes = list(listing.notes)
    if any(each.patient_id for each in listing.candidates):
        notes += ["patient_pattern is not used: the dataset names its patients"] if pattern else []
        named = listing.candidates
    elif pattern:
        compiled = compile_pattern(pattern)
        named = [replace(each, patient_id=find_patient(compiled, each.path)) for each in listing.candidates]
    else:
        lone = [replace(each, patient_id=each.image_id) for each in listing.candidates]
        return replace(listing, candidates=lone)
    return join_spellings(folder, replace(listing, candidates=named, notes=notes))


def join_spellings(folder: Path, listing: Listing) -> Listing:
    """Join patients whose names are surely or possibly written differently; note how many, with an example."""
    spellings: dict[str, set[str]] = defaultdict(set)
    for each in listing.candidates:
        spellings[loose_key(each.patient_id)].add(each.patient_id)
    if blank := next((key for key in spellings if is_blank(key)), None):
        raise CxrflowError(f"{folder}: {_describe_blank(listing.candidates, blank)}")
    names = {key: min(map(clean_name, forms), key=lambda name: (len(name), name)) for key, forms in spellings.items()}
    joined = sorted(sorted(forms) for forms in spellings.values() if len(forms) > 1)
    notes = list(listing.notes)
    if joined:
        notes.append(
            f"{len(joined):,} patients are written in several ways that differ in blanks, hyphens, case or number"
            f" format alone, such as {' and '.join(map(repr, joined[0]))}: each counts as one, so that none can cross"
            " subsets"
        )
    candidates = [replace(each, patient_id=names[loose_key(each.patient_id)]) for each in listing.candidates]
    return replace(listing, candidates=candidates, notes=notes)


def _describe_blank(candidates: list[Candidate], blank: str) -> str:
    found = [each for each in candidates if loose_key(each.patient_id) == blank]
    return (
        f"{len(found):,} images, such as {found[0].path}, have the patient {found[0].patient_id!r}, which looks like an"
        " empty cell: name their patients, leave these images out, or name no patients at all"
    )


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Compile a patient_pattern.

    Raises:
        CxrflowError: it is not a regular expression, or has no group named patient.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise CxrflowError(f"patient_pattern {pattern!r} is not a regular expression: {error}") from None
    if "patient" not in compiled.groupindex:
        raise CxrflowError(f"patient_pattern {pattern!r} has no group named patient: write (?P<patient>...) around it")
    return compiled


def find_patient(pattern: re.Pattern[str], path: str) -> str:
    """Return the patient_id of a path.

    Raises:
        CxrflowError: the pattern does not match. Guessing would let a patient cross subsets.
    """
    match = pattern.search(path)
    if not match or not match["patient"]:
        raise CxrflowError(f"patient_pattern {pattern.pattern!r} finds no patient in {path!r}: widen the pattern")
    return match["patient"]
