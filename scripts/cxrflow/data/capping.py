"""A seeded cap per class, so that every class keeps as many images as it may. Pure; reads and writes nothing."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable

from cxrflow.data.readers.base import Candidate


def seeded_rank(seed: int, name: str) -> str:
    """Return 64 hex digits that order names at random: the same on every machine, whatever other names there are."""
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()


def rank_images(candidates: Iterable[Candidate], seed: int) -> dict[str, list[Candidate]]:
    """Return the images of each class in seeded order: of its patients, and of the images of each patient.

    A cap takes the first ones of each class, whatever the other classes hold, so that the patients of a class are a
    random sample of its patients. Each patient has one place in the order of all classes: who has images of two
    classes is kept in both as often as two caps allow. The order of `candidates` does not matter.
    """
    classes: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        classes[candidate.label].append(candidate)
    for images in classes.values():
        images.sort(key=lambda each: (seeded_rank(seed, each.patient_id), seeded_rank(seed, each.image_id)))
    return dict(sorted(classes.items()))
