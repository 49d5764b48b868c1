r"""Split a dataset into train, val and test, by class or as published, with whole patients and groups of equal pixels.

Reads index.csv and groups.csv; writes split.csv (the train and val images) and test.csv (the test images), in
index order. They are two files so that nothing that trains or chooses a model is given a test image.

    python scripts/split.py --index index.csv --dataset covid --groups groups.csv --settings '{"seed": 0}' \
        --split split.csv --test test.csv
"""

from collections import Counter
from pathlib import Path

from cxrflow.config.settings import SplitSettings
from cxrflow.config.stages import Output, run_stage
from cxrflow.data.splitting import describe_split, split_index
from cxrflow.files.records import SUBSETS, GroupRow, IndexRow, SplitRow
from cxrflow.files.tables import read_records, write_records


def split_dataset(
    *, index: Path, dataset: str, groups: Path, settings: SplitSettings, split: Output, test: Output
) -> None:
    """Split one dataset.

    index: index.csv of the dataset
    dataset: its name in the study
    groups: groups.csv of the study
    settings: its source, shares and seed, as JSON.
    split: split.csv to write
    test: test.csv to write
    """
    grouped = [row for row in read_records(groups, GroupRow) if row.dataset == dataset]
    rows = split_index(read_records(index, IndexRow), settings, grouped)
    print(f"split: {describe_split(rows)}")
    counts = Counter((row.label, row.subset) for row in rows)
    for label in sorted({row.label for row in rows}):
        print(f"{label}: " + ", ".join(f"{counts[label, subset]:,} {subset}" for subset in SUBSETS))
    write_records(test, SplitRow, [row for row in rows if row.subset == "test"])
    write_records(split, SplitRow, [row for row in rows if row.subset != "test"])


if __name__ == "__main__":
    run_stage(split_dataset)
