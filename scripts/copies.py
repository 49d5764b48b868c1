r"""Find copies among the images of all datasets of a study, and say which images belong together for it.

Reads index.csv and thumbnails.npy of each dataset; writes copies.csv (pairs, copies and look-alikes) and groups.csv
(the images that copies join, their patients, and the subset of groups that span datasets).

    python scripts/copies.py --datasets covid pneumonia --indexes covid/index.csv pneumonia/index.csv \
        --thumbnails covid/thumbnails.npy pneumonia/thumbnails.npy --settings '{"seed": 0}' --threads 2 \
        --copies copies.csv --groups groups.csv
"""

from collections import Counter
from pathlib import Path

from cxrflow.config.settings import SplitSettings
from cxrflow.config.stages import Output, run_stage
from cxrflow.data.copies import find_copies
from cxrflow.data.grouping import group_images
from cxrflow.files.atomic import read_mapped
from cxrflow.files.records import CopyRow, GroupRow, IndexRow
from cxrflow.files.tables import read_records, write_records


def audit_copies(
    *,
    datasets: list[str],
    indexes: list[Path],
    thumbnails: list[Path],
    settings: SplitSettings,
    threads: int,
    copies: Output,
    groups: Output,
) -> None:
    """Compare every image with every other one.

    datasets: their names
    indexes: index.csv of each
    thumbnails: thumbnails.npy of each
    settings: shares and seed of the split, for groups that span datasets, as JSON.
    threads: pairs compared at once
    copies: copies.csv to write
    groups: groups.csv to write
    """
    rows = {name: read_records(path, IndexRow) for name, path in zip(datasets, indexes, strict=True)}
    pictures = [picture for path in thumbnails for picture in read_mapped(path)]  # views: nothing is read yet
    images = [(name, row.image_id) for name, of in rows.items() for row in of]
    pairs = [
        CopyRow(
            *images[each.first],
            *images[each.second],
            "copy" if each.is_copy else "look-alike",
            each.view,
            each.distance,
            round(each.correlation, 4),
        )
        for each in find_copies(pictures, threads)
    ]
    grouped = group_images(rows, pairs, settings)
    print(f"compared {len(images):,} images of {len(rows)} datasets with each other")
    for (one, two, kind), n in sorted(Counter((p.dataset, p.other_dataset, p.kind) for p in pairs).items()):
        print(f"{one} and {two}: {n:,} pairs ({kind})")
    for row in grouped:
        if row.left_out:
            print(f"left out: {row.dataset}, {row.image_id} ({row.label}): {row.left_out}")
    write_records(copies, CopyRow, pairs)
    write_records(groups, GroupRow, grouped)


if __name__ == "__main__":
    run_stage(audit_copies)
