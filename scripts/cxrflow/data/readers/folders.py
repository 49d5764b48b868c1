"""Any tree with one folder per class: a dataset of one's own with a few lines of YAML.

Reads the names of the images below the dataset's folder. Without `classes`, the outermost folder names the class.
With `classes`, the innermost folder on an image's path that is a key of it does, so that `train/NORMAL/x.png`
works, too.
"""

import re
from pathlib import Path

from cxrflow.config.settings import DatasetSettings
from cxrflow.data.readers.base import Candidate, Listing, describe_folder, walk_images
from cxrflow.errors import CxrflowError
from cxrflow.files.records import RejectRow


def list_images(folder: Path, settings: DatasetSettings) -> Listing:
    """List the images of every class folder.

    Raises:
        CxrflowError: a class without a folder, no image at all, or a patient_pattern that does not fit.
    """
    paths = walk_images(folder, skip=settings.lesion_masks)
    if not paths:
        raise CxrflowError(f"{folder} has no images below it: expected one folder per class; {describe_folder(folder)}")
    find_patient = patient_finder(settings.patient_pattern)
    listing = Listing([])
    for path in paths:
        parts = path.split("/")[:-1]
        depth = _class_depth(parts, settings.classes)
        if depth is None:
            reason = "it lies in no folder of a class"
            listing.rejects.append(RejectRow(path, path, "", "selection", reason))
            continue
        label = settings.classes.get(parts[depth], parts[depth])
        source = "/".join(parts[:depth])
        listing.candidates.append(Candidate(path, path, label, find_patient(path), source))
    _check_classes(folder, settings, listing)
    return listing


def _class_depth(parts: list[str], classes: dict[str, str]) -> int | None:
    """Return the place in an image's folders of the one that names its class."""
    if not classes:
        return 0 if parts else None
    return next((i for i in reversed(range(len(parts))) if parts[i] in classes), None)


def _check_classes(folder: Path, settings: DatasetSettings, listing: Listing) -> None:
    missing = sorted(set(settings.classes.values()) - {each.label for each in listing.candidates})
    if missing:
        keys = [repr(key) for key, name in settings.classes.items() if name in missing]
        raise CxrflowError(
            f"{folder} has no images of the class(es) {', '.join(missing)}: expected them in a folder named"
            f" {' or '.join(keys)} (classes in the config); {describe_folder(folder)}"
        )


def patient_finder(pattern: str) -> "PatientFinder":
    """Return the function that finds the patient in a relative path.

    Raises:
        CxrflowError: the pattern is not a regular expression, or has no group named patient.
    """
    try:
        compiled = re.compile(pattern) if pattern else None
    except re.error as error:
        raise CxrflowError(f"patient_pattern {pattern!r} is not a regular expression: {error}") from None
    if compiled is not None and "patient" not in compiled.groupindex:
        raise CxrflowError(f"patient_pattern {pattern!r} has no group named patient: write (?P<patient>...) around it")
    return PatientFinder(compiled)


class PatientFinder:
    """Finds the patient in an image's relative path; without a pattern every image is its own patient."""

    def __init__(self, pattern: re.Pattern[str] | None) -> None:
        """Keep the compiled pattern."""
        self.pattern = pattern

    def __call__(self, path: str) -> str:
        """Return the patient_id of a path.

        Raises:
            CxrflowError: the pattern does not match. Guessing would let a patient cross subsets.
        """
        if self.pattern is None:
            return path
        match = self.pattern.search(path)
        if not match or not match["patient"]:
            raise CxrflowError(
                f"patient_pattern {self.pattern.pattern!r} finds no patient in {path!r}: widen the pattern"
            )
        return match["patient"]
