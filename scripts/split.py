"""Split a dataset into train, val and test, by class or as published, with whole patients and groups of equal pixels.

Reads index.csv; writes split.csv (the train and val images) and test.csv (the test images), in index order. They are
two files so that nothing that trains or chooses a model is given a test image.

    python scripts/split.py --index index.csv --settings '{"seed": 0}' --split split.csv --test test.csv
"""

from collections import Counter
from pathlib import Path

from cxrflow.config.settings import SplitSettings
from cxrflow.config.stages import Output, run_stage
from cxrflow.data.splitting import describe_split, split_index
from cxrflow.files.records import SUBSETS, IndexRow, SplitRow
from cxrflow.files.tables import read_records, write_records


def split_dataset(*, index: Path, settings: SplitSettings, split: Output, test: Output) -> None:
    """Split one dataset.

    index: index.csv of the dataset
    settings: its source, shares and seed, as JSON.
    split: split.csv to write
    test: test.csv to write
    """
    rows = split_index(read_records(index, IndexRow), settings)
    print(f"split: {describe_split(rows)}")
    counts = Counter((row.label, row.subset) for row in rows)
    for label in sorted({row.label for row in rows}):
        print(f"{label}: " + ", ".join(f"{counts[label, subset]:,} {subset}" for subset in SUBSETS))
    write_records(test, SplitRow, [row for row in rows if row.subset == "test"])
    write_records(split, SplitRow, [row for row in rows if row.subset != "test"])


if __name__ == "__main__":
    run_stage(split_dataset)
