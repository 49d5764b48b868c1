"""What copies mean for the splits of a study: who belongs together, and which images are left out. Pure.

A group that spans datasets lies in the same subset of each, so that no model of one dataset is trained on what tests
another: its subset is drawn here, once for all of them, by class as in a split. The other groups are each split's own.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from cxrflow.config.settings import SplitSettings
from cxrflow.data.splitting import LAST, assign_groups, join_rows
from cxrflow.files.records import SUBSETS, CopyRow, GroupRow, IndexRow

Image = tuple[str, str]  # dataset and image_id


def group_images(
    datasets: Mapping[str, Sequence[IndexRow]], copies: Sequence[CopyRow], settings: SplitSettings
) -> list[GroupRow]:
    """Return the images of every group that has a copy, in the order of datasets and rows.

    Joined are images of one patient, with equal pixels, and copies. Where a dataset names no patient, all copies of an
    image are one patient's, and have the name that another dataset gives him. A copy with another label in the same
    dataset is left out with its twin: one of the two labels is wrong. Not of one named patient: his next X-ray may look
    the same and have another finding, and both are on one side in any case.
    """
    images = [(name, row) for name, rows in datasets.items() for row in rows]
    pairs = [(pair.first, pair.second) for pair in copies if pair.kind == "copy"]
    groups = dict(zip([(name, row.image_id) for name, row in images], _join(images, pairs), strict=True))
    joined = {groups[image] for pair in pairs for image in pair}
    spans: dict[str, set[str]] = defaultdict(set)
    for (dataset, _), group in groups.items():
        spans[group].add(dataset)
    joined |= {group for group, found in spans.items() if len(found) > 1}  # by equal pixels
    named = {(name, row.image_id): row.patient_id for name, row in images if row.patient_id != row.image_id}
    others = [(one, two) for one, two in pairs if named.get(one) is None or named[one] != named.get(two)]
    conflicts = find_conflicts({(name, row.image_id): row.label for name, row in images}, others)
    rows = [
        GroupRow(
            name,
            row.image_id,
            row.label,
            group,
            group if row.patient_id == row.image_id else row.patient_id,
            left_out=conflicts.get((name, row.image_id), ""),
        )
        for name, row in images
        if (group := groups[name, row.image_id]) in joined
    ]
    if settings.source == "published":  # as each dataset's owners say
        return rows
    spanning = [row for row in rows if len(spans[row.group]) > 1 and not row.left_out]
    subsets = _draw_subsets(spanning, settings)
    return [replace(row, subset=subsets.get(row.group, "")) for row in rows]


def _join(images: Sequence[tuple[str, IndexRow]], pairs: Sequence[tuple[Image, Image]]) -> list[str]:
    """Return the group of each image, named by its first patient who has a name, `dataset/patient`."""
    links: dict[Image, list[str]] = defaultdict(list)
    for number, pair in enumerate(pairs):
        for image in pair:
            links[image].append(f"{LAST}pair {number}")
    keys = [
        [
            f"{int(row.patient_id == row.image_id)}{name}/{row.patient_id}",  # 0 sorts first: a name
            f"{LAST}{row.pixel_sha256}",
            *links[name, row.image_id],
        ]
        for name, row in images
    ]
    return [group[1:] for group in join_rows(keys)]


def find_conflicts(labels: Mapping[Image, str], pairs: Sequence[tuple[Image, Image]]) -> dict[Image, str]:
    """Return {image: why it is left out} of the copies within a dataset that have two labels."""
    return {
        one: f"a copy of it, {two[1]}, has another label: {labels[two]}"
        for pair in pairs
        for one, two in (pair, pair[::-1])
        if one[0] == two[0] and labels[one] != labels[two]
    }


def _draw_subsets(rows: Sequence[GroupRow], settings: SplitSettings) -> dict[str, str]:
    classes: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        classes[row.group][f"{row.dataset}/{row.label}"] += 1
    return assign_groups(classes, {name: float(getattr(settings, name)) for name in SUBSETS}, settings.seed)
