r"""List a dataset, read every image once, and keep those that can be trusted.

Reads the dataset's folder; writes index.csv (kept images, with patient and hashes), rejects.csv (refused images and
why), regions.csv (annotated lesions and lungs), thumbnails.npy (for the search of copies) and index.json (counts).

    python scripts/index.py --folder data/covid --dataset covid \
        --reader-settings '{"reader": "covid_radiography", "folder": "covid"}' --settings '{}' --threads 2 \
        --index index.csv --rejects rejects.csv --regions regions.csv --thumbnails thumbnails.npy \
        --summary index.json
"""

from collections import Counter
from contextlib import closing
from pathlib import Path

from cxrflow.config.readers import READERS
from cxrflow.config.settings import DatasetSettings, IndexSettings
from cxrflow.config.stages import Output, run_stage
from cxrflow.data.indexing import Index, build_index, summarize_index
from cxrflow.data.thumbnails import ThumbnailFile
from cxrflow.files.atomic import write_json
from cxrflow.files.records import IndexRow, RegionRow, RejectRow
from cxrflow.files.tables import write_records


def index_dataset(
    *,
    folder: Path,
    dataset: str,
    reader_settings: DatasetSettings,
    settings: IndexSettings,
    threads: int,
    index: Output,
    rejects: Output,
    regions: Output,
    thumbnails: Output,
    summary: Output,
) -> None:
    """Index one dataset.

    folder: the dataset's folder, laid out as its owners publish it
    dataset: the dataset's name in the study
    reader_settings: the dataset's layout, as JSON.
    settings: which images are kept, as JSON.
    threads: files read at once
    index: index.csv to write
    rejects: rejects.csv to write
    regions: regions.csv to write
    thumbnails: thumbnails.npy to write
    summary: index.json to write
    """
    with closing(ThumbnailFile(thumbnails.parent)) as shrunk:
        found = build_index(folder, reader_settings, settings, threads, shrunk.keep)
        shrunk.write(thumbnails, (row.image_id for row in found.rows))
    summary_values = summarize_index(found, dataset, reader_settings)
    published = READERS[reader_settings.reader].count_published(reader_settings.classes, reader_settings.findings)
    print_counts(found, summary_values["counts"], published)
    write_records(rejects, RejectRow, found.rejects)
    write_records(regions, RegionRow, found.regions)
    write_json(summary, summary_values)
    write_records(index, IndexRow, found.rows)  # last: its presence means the index is whole


def print_counts(found: Index, counts: dict[str, int], published: dict[str, int]) -> None:
    """Print how many images were kept, of how many published ones, and how many were not."""
    for name, count in counts.items():
        print(f"{name}: {count:,}" + (f" of {published[name]:,} published images" if name in published else " images"))
    for kind, count in sorted(Counter(row.kind for row in found.rejects).items()):
        what = "listed by the dataset's own table but missing" if kind == "missing" else f"refused ({kind})"
        print(f"{what}: {count:,}, see rejects.csv")
    if n_copies := len(found.rows) - len({row.pixel_sha256 for row in found.rows}):
        print(f"copies (equal pixels, same class): {n_copies:,} of these, which count and share a subset")
    for note in found.notes:
        print(f"note: {note}")


if __name__ == "__main__":
    run_stage(index_dataset)
