"""Split a dataset into train, val and test by class, with whole patients and whole groups of duplicates.

Pure: from index rows to split rows. Patients and images with equal pixels are joined into groups, and a group never
crosses subsets. No random generator is used: groups are ordered by SHA-256 of seed and name, which is the same on
every machine, under every version, and does not depend on the order of files.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

from cxrflow.config.settings import SplitSettings
from cxrflow.data.capping import seeded_rank
from cxrflow.errors import CxrflowError
from cxrflow.files.records import SUBSETS, IndexRow, SplitRow


def split_index(rows: Sequence[IndexRow], settings: SplitSettings) -> list[SplitRow]:
    """Assign a subset to every image, in index order.

    Raises:
        CxrflowError: a class cannot be in all three subsets.
    """
    groups = join_groups(rows)
    classes: dict[str, Counter[str]] = defaultdict(Counter)
    for row, group in zip(rows, groups, strict=True):
        classes[group][row.label] += 1
    subsets = assign_groups(classes, settings)
    split = [
        SplitRow(row.image_id, row.label, row.patient_id, group, subsets[group])
        for row, group in zip(rows, groups, strict=True)
    ]
    check_split(rows, split)
    return split


def join_groups(rows: Sequence[IndexRow]) -> list[str]:
    """Return the group of every row: the alphabetically first patient among those joined by patient or equal pixels."""
    parents: dict[str, str] = {row.patient_id: row.patient_id for row in rows}
    owner: dict[str, str] = {}  # pixels -> the first patient that has them
    for row in rows:
        _join(parents, owner.setdefault(row.pixel_sha256, row.patient_id), row.patient_id)
    return [_find(parents, row.patient_id) for row in rows]


def _find(parents: dict[str, str], name: str) -> str:
    """Return the root of a name and flatten the way to it (union-find)."""
    root = name
    while parents[root] != root:
        root = parents[root]
    while parents[name] != root:
        parents[name], name = root, parents[name]
    return root


def _join(parents: dict[str, str], first: str, second: str) -> None:
    low, high = sorted((_find(parents, first), _find(parents, second)))
    parents[high] = low  # the smaller name is the root, so that the group's name does not depend on the order of rows


def assign_groups(classes: dict[str, Counter[str]], settings: SplitSettings) -> dict[str, str]:
    """Return {group: subset}; each group goes where its classes are furthest below their share.

    Iterative stratification (Sechidis et al. 2011, "On the stratification of multi-label data") on whole groups: groups
    of rare classes first, larger ones before smaller ones so that single images even out what is left, equals in seeded
    order.

    classes: images per class of each group.
    """
    holders: Counter[str] = Counter()  # class -> groups that have it
    for counts in classes.values():
        holders.update(counts.keys())

    def place(group: str) -> tuple[int, int, str]:
        counts = classes[group]
        return min(holders[label] for label in counts), -counts.total(), seeded_rank(settings.seed, group)

    stratifier = _Stratifier(classes, holders, settings)
    return {group: stratifier.place(classes[group]) for group in sorted(classes, key=place)}


class _Stratifier:
    """How full the subsets are, and where the next group goes."""

    def __init__(self, classes: dict[str, Counter[str]], holders: Counter[str], settings: SplitSettings) -> None:
        self.shares: dict[str, float] = {name: getattr(settings, name) for name in SUBSETS}
        self.totals: Counter[str] = Counter()
        for counts in classes.values():
            self.totals.update(counts)
        self.left = Counter(holders)  # class -> groups that are not placed yet
        # subset -> class -> images over the subset's share of the class; 1 is full
        self.filled = {name: dict.fromkeys(self.totals, 0.0) for name in SUBSETS}

    def place(self, counts: Counter[str]) -> str:
        """Choose the subset of one group with these images per class, and count them there."""
        weights = {label: n / self.totals[label] for label, n in sorted(counts.items())}
        subset = self._choose(weights)
        for label, weight in weights.items():
            self.filled[subset][label] += weight / self.shares[subset]
            self.left[label] -= 1
        return subset

    def _choose(self, weights: dict[str, float]) -> str:
        """Return the least filled subset that the group does not overfill, else the one that lacks most images."""
        allowed = self._needy(weights)
        filled = {name: sum(w * self.filled[name][label] for label, w in weights.items()) for name in allowed}
        added = sum(w * w for w in weights.values())
        full = sum(weights.values())
        fitting = [name for name in allowed if filled[name] + added / self.shares[name] <= full + 1e-9]
        if fitting:
            return min(fitting, key=filled.__getitem__)
        return max(allowed, key=lambda name: self.shares[name] * (full - filled[name]))

    def _needy(self, weights: dict[str, float]) -> list[str]:
        """Return where the group may go: where a class is running out, only to the subsets that still lack it."""
        needy: set[str] = set(SUBSETS)
        for label in weights:
            lacking = {name for name in SUBSETS if not self.filled[name][label]}
            if lacking and self.left[label] <= len(lacking):
                needy = needy & lacking or lacking
        return [name for name in SUBSETS if name in needy]


def check_split(rows: Sequence[IndexRow], split: Sequence[SplitRow]) -> None:
    """Check that nothing leaks and that every class is in every subset.

    Raises:
        CxrflowError: a patient, a group or equal pixels in two subsets, or a class that a subset lacks.
    """
    for what, names in (
        ("patient", [row.patient_id for row in rows]),
        ("group", [row.group for row in split]),
        ("duplicate", [row.pixel_sha256 for row in rows]),
    ):
        places: dict[str, str] = {}
        for name, row in zip(names, split, strict=True):
            if places.setdefault(name, row.subset) != row.subset:
                raise CxrflowError(
                    f"the split leaks: {what} {name} is in {places[name]} and in {row.subset}, at {row.image_id}"
                )
    present = {(row.label, row.subset) for row in split}
    for label in sorted({row.label for row in split}):
        lacking = [subset for subset in SUBSETS if (label, subset) not in present]
        if lacking:
            n = len({row.group for row in split if row.label == label})
            raise CxrflowError(
                f"class {label!r} is too small to split: its images form {n} group(s) of patients and duplicates, and"
                f" none is left for {' and '.join(lacking)}; at least 3 are needed, better 20. Add images, raise"
                " index.max_images_per_class, or leave the class out"
            )
