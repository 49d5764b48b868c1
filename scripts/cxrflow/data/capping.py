"""A seeded cap per class that keeps patients whole. Pure; reads and writes nothing."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from cxrflow.data.readers.base import Candidate


def seeded_rank(seed: int, name: str) -> str:
    """Return 64 hex digits that order names at random: the same on every machine, whatever other names there are."""
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()


def rank_patients(candidates: Iterable[Candidate], seed: int) -> list[list[Candidate]]:
    """Return the images of each patient, patients in seeded order; the order of `candidates` does not matter."""
    patients: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in sorted(candidates, key=lambda each: each.image_id):
        patients[candidate.patient_id].append(candidate)
    return [patients[name] for name in sorted(patients, key=lambda name: seeded_rank(seed, name))]


def choose_patients(
    patients: list[list[Candidate]], kept: Mapping[str, int], cap: int
) -> tuple[list[list[Candidate]], list[list[Candidate]]]:
    """Choose the patients, in order, whose images still fit under the cap of every class.

    A patient that would overshoot is passed over and a later, smaller one may fill the place.

    kept: images per class that are kept already.

    Returns: (chosen, passed over), both in order.
    """
    counts, chosen, passed_over = Counter(kept), [], []
    for patient in patients:
        added = Counter(candidate.label for candidate in patient)
        if all(counts[label] + n <= cap for label, n in added.items()):
            counts += added
            chosen.append(patient)
        else:
            passed_over.append(patient)
    return chosen, passed_over
