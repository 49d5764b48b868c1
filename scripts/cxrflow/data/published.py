"""The split that a dataset's owners publish, kept as it is where it leaks nothing. Pure."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from cxrflow.errors import CxrflowError
from cxrflow.files.records import IndexRow

OTHERWISE = "or write `split.source: seed`, which splits by the shares in the config"


def place_published(rows: Sequence[IndexRow], groups: Sequence[str]) -> dict[str, str]:
    """Return {group: subset} as published. Train and val groups are missing where val is still to be cut from train.

    That is so where no val is published, or one that lacks a class, as Kaggle's val of the Kermany set with its 16
    images: they count as train.

    groups: the group of each row, patients and duplicates joined.

    Raises:
        CxrflowError: an image has no part, nothing is published for test, or a group is in two parts.
    """
    _check_parts(rows)
    labels: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        labels[row.part].add(row.label)
    has_val = labels["val"] == labels["train"] | labels["val"] | labels["test"]
    parts: dict[str, dict[str, IndexRow]] = defaultdict(dict)  # group -> subset -> its first image there
    for row, group in zip(rows, groups, strict=True):
        subset = "train" if row.part == "val" and not has_val else row.part
        parts[group].setdefault(subset, row)
    _check_groups(parts)
    placed = {group: next(iter(found)) for group, found in parts.items()}
    return {group: subset for group, subset in placed.items() if has_val or subset == "test"}


def _check_parts(rows: Sequence[IndexRow]) -> None:
    counts = Counter(row.part for row in rows)
    if counts[""]:
        example = next(row.path for row in rows if not row.part)
        raise CxrflowError(
            f"split.source: published, and {counts['']:,} of {len(rows):,} images are in no part of a published split,"
            f" or in several, such as {example}: put them into one (folders train, val and test; the NIH's"
            f" train_val_list.txt and test_list.txt; split_column), leave them out with `skip`, {OTHERWISE}"
        )
    if not (counts["train"] and counts["test"]):
        found = ", ".join(f"{part} ({n:,} images)" for part, n in counts.items() if n)
        raise CxrflowError(
            f"split.source: published needs train and test, and there is only {found}: add it, {OTHERWISE}"
        )


def _check_groups(parts: dict[str, dict[str, IndexRow]]) -> None:
    """A published split that leaks is refused: mending it silently would give a score of another split."""
    leaking = {group: found for group, found in parts.items() if len(found) > 1}
    if leaking:
        examples = "; ".join(
            f"patient {group}: " + " and ".join(f"{row.path} in {subset}" for subset, row in sorted(found.items()))
            for group, found in sorted(leaking.items())[:3]
        )
        raise CxrflowError(
            f"the published split leaks: {len(leaking):,} patients (images with equal pixels count as one's) are in two"
            f" of its parts, such as {examples}. Leave their images in one part out with `skip`, {OTHERWISE}"
        )
