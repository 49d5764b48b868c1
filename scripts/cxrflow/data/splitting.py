"""Split a dataset into train, val and test by class, with whole patients and whole groups of equal pixels.

Pure: from index rows to split rows. Patients and images with equal pixels are joined into groups, and a group never
crosses subsets. No random generator is used: groups are ordered by SHA-256 of seed and name, which is the same on
every machine, under every version, and does not depend on the order of files.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from cxrflow.config.settings import SplitSettings
from cxrflow.data.capping import seeded_rank
from cxrflow.data.published import place_published
from cxrflow.errors import CxrflowError
from cxrflow.files.records import SUBSETS, GroupRow, IndexRow, SplitRow, list_labels

LAST = chr(0x10FFFF)  # begins a key that sorts after every name


def split_index(rows: Sequence[IndexRow], settings: SplitSettings, grouped: Iterable[GroupRow] = ()) -> list[SplitRow]:
    """Assign a subset to every image that is not left out, in index order.

    grouped: the rows of groups.csv of this dataset: who else belongs together, whose images they are, and where groups
        lie that other datasets share.

    Raises:
        CxrflowError: a class cannot be in all three subsets, or the published split is incomplete or leaks.
    """
    known = {row.image_id: row for row in grouped}
    rows = [
        replace(row, patient_id=known[row.image_id].patient_id) if row.image_id in known else row
        for row in rows
        if row.image_id not in known or not known[row.image_id].left_out
    ]
    groups = join_groups(rows, {image_id: row.group for image_id, row in known.items()})
    fixed = place_published(rows, groups) if settings.source == "published" else {}
    shared = {
        group: known[row.image_id].subset
        for row, group in zip(rows, groups, strict=True)
        if row.image_id in known and known[row.image_id].subset
    }
    classes: dict[str, Counter[str]] = defaultdict(Counter)
    for row, group in zip(rows, groups, strict=True):
        classes[group].update(list_labels(row))
    free = {group: counts for group, counts in classes.items() if group not in fixed}
    shares = {name: float(getattr(settings, name)) for name in SUBSETS if name not in fixed.values()}
    whole = sum(shares.values()) if fixed else 1.0
    subsets = fixed | assign_groups(
        free, {name: share / whole for name, share in shares.items()}, settings.seed, shared
    )
    kept = {*fixed.values(), "train"} if fixed else set[str]()  # subsets whose images are as published
    split = [
        SplitRow(row.image_id, row.label, row.patient_id, group, subset, by, row.findings)
        for row, group in zip(rows, groups, strict=True)
        for subset in [subsets[group]]
        for by in ["published" if subset in kept else "seed"]
    ]
    check_split(rows, split)
    return split


def describe_split(split: Iterable[SplitRow]) -> str:
    """Say in a few words which split a score is of: `by seed`, `published`, or `published, val cut from train`."""
    decided = {(row.decided_by, row.subset) for row in split}
    if all(by == "seed" for by, _ in decided):
        return "by seed"
    return "published" + (", val cut from train" if ("seed", "val") in decided else "")


def join_groups(rows: Sequence[IndexRow], known: Mapping[str, str] | None = None) -> list[str]:
    """Return the group of every row: the alphabetically first patient among those joined.

    Joined are rows of one patient, with equal pixels, or of one group in `known`, {image_id: group}.
    """
    known = known or {}
    return join_rows(
        [
            [
                row.patient_id,
                f"{LAST}{row.pixel_sha256}",
                *(f"{LAST}group {known[i]}" for i in [row.image_id] if i in known),
            ]
            for row in rows
        ]
    )


def join_rows(keys: Sequence[Sequence[str]]) -> list[str]:
    """Return the alphabetically first key of every row's group: rows with a key in common are in one group."""
    parents: dict[str, str] = {}
    for row in keys:
        for key in row:
            parents.setdefault(key, key)
            _join(parents, row[0], key)
    return [_find(parents, row[0]) for row in keys]


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


def assign_groups(
    classes: dict[str, Counter[str]], shares: dict[str, float], seed: int, placed: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return {group: subset}; each group goes where its classes are furthest below their share.

    Iterative stratification (Sechidis et al. 2011, "On the stratification of multi-label data") on whole groups: groups
    of rare classes first, larger ones before smaller ones so that single images even out what is left, equals in seeded
    order.

    classes: images per class of each group.
    shares: {subset: its share of the images}; they add up to 1.
    placed: {group: subset} of those whose place is known; the others fill up what these leave.
    """
    holders: Counter[str] = Counter()  # class -> groups that have it
    for counts in classes.values():
        holders.update(counts.keys())

    def place(group: str) -> tuple[int, int, str]:
        counts = classes[group]
        return min(holders[label] for label in counts), -counts.total(), seeded_rank(seed, group)

    stratifier = _Stratifier(classes, holders, shares)
    known = {group: subset for group, subset in (placed or {}).items() if group in classes and subset in shares}
    for group, subset in known.items():
        stratifier.add(classes[group], subset)
    return known | {group: stratifier.place(classes[group]) for group in sorted(classes.keys() - known, key=place)}


class _Stratifier:
    """How full the subsets are, and where the next group goes."""

    def __init__(self, classes: dict[str, Counter[str]], holders: Counter[str], shares: dict[str, float]) -> None:
        self.shares = shares
        self.totals: Counter[str] = Counter()
        for counts in classes.values():
            self.totals.update(counts)
        self.left = Counter(holders)  # class -> groups that are not placed yet
        # subset -> class -> images over the subset's share of the class; 1 is full
        self.filled = {name: dict.fromkeys(self.totals, 0.0) for name in shares}

    def place(self, counts: Counter[str]) -> str:
        """Choose the subset of one group with these images per class, and count them there."""
        subset = self._choose(self._weigh(counts))
        self.add(counts, subset)
        return subset

    def add(self, counts: Counter[str], subset: str) -> None:
        """Count the images of one group in a subset."""
        for label, weight in self._weigh(counts).items():
            self.filled[subset][label] += weight / self.shares[subset]
            self.left[label] -= 1

    def _weigh(self, counts: Counter[str]) -> dict[str, float]:
        return {label: n / self.totals[label] for label, n in sorted(counts.items())}

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
        needy = set(self.shares)
        for label in weights:
            lacking = {name for name in self.shares if not self.filled[name][label]}
            if lacking and self.left[label] <= len(lacking):
                needy = needy & lacking or lacking
        return [name for name in self.shares if name in needy]


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
    present = {(label, row.subset) for row in split for label in list_labels(row)}
    for label in sorted({label for label, _ in present}):
        lacking = [subset for subset in SUBSETS if (label, subset) not in present]
        if lacking:
            members = [row for row in split if label in list_labels(row)]
            n_groups, n_patients = len({row.group for row in members}), len({row.patient_id for row in members})
            raise CxrflowError(
                f"class {label!r} is too small to split: its {len(members)} images form {n_groups} group(s) of patients"
                f" and duplicates, and none is left for {' and '.join(lacking)}; at least 3 are needed, better 20."
                f" {_find_remedy(members, lacking, n_patients, n_groups)}, or leave the class out with"
                f" datasets.<name>.{'findings' if members[0].findings else 'classes'}, or the dataset with"
                " --config 'leave_out=[<name>]'"
            )


def _find_remedy(members: list[SplitRow], lacking: list[str], n_patients: int, n_groups: int) -> str:
    """Say what makes a class small: the published split, how patients are named, duplicates, or too few images."""
    n_images = len(members)
    if lacking != ["val"] and any(row.decided_by == "published" for row in members):
        return f"The published split has none of them in {' and '.join(lacking)}: write `split.source: seed`"
    if n_groups < 3 <= n_patients:
        return f"Its {n_patients} patients have images with equal pixels: remove the copies"
    if n_groups < 3 <= n_images:
        return "If it has more patients, correct who is one (patient_pattern, patient_column)"
    return "Add images, raise index.max_images_per_class"
