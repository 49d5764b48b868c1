r"""Join the packed shards of a dataset into the one array that trainings map into memory.

Reads rows.npy of every shard and rows.json beside each; writes images.npy, uint8 (N, size, size), 0-255, row i = row i
of the index: the same bytes as from scripts/preprocess.py. Copies a piece at a time, so memory does not grow with N.

    python scripts/join_shards.py --index index.csv --settings '{"size_px": 256}' \
        --rows shards/1-of-2/rows.npy shards/2-of-2/rows.npy --images images.npy
"""

from pathlib import Path

from cxrflow.config.settings import PreprocessSettings
from cxrflow.config.stages import run_stage
from cxrflow.data.joining import join_shards


def join_dataset(*, index: Path, settings: PreprocessSettings, rows: list[Path], images: Path) -> None:
    """Join all shards of one dataset.

    index: index.csv that the shards were packed from
    settings: size, equalization and blur that they were packed with, as JSON.
    rows: rows.npy of every shard, from the first to the last
    images: images.npy to write
    """
    join_shards(index, settings, rows, images)
    print(f"wrote {images} ({images.stat().st_size / 2**20:,.1f} MiB) from {len(rows)} shards")


if __name__ == "__main__":
    run_stage(join_dataset)
