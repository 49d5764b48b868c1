r"""Preprocess the images of one shard of a dataset, so that several jobs share the work.

Reads index.csv and the images that the shard's rows name; writes rows.npy, uint8 (n, size, size), 0-255, and beside it
rows.json, which says which rows of what they are. A killed run goes on where it was, from the resume folder.

    python scripts/preprocess_shard.py --folder data/covid --index index.csv --settings '{"size_px": 256}' --threads 2 \
        --shard 2-of-3 --resume shards/2-of-3/resume/ --rows shards/2-of-3/rows.npy
"""

from pathlib import Path

from cxrflow.config.settings import PreprocessSettings
from cxrflow.config.stages import run_stage
from cxrflow.data.joining import pack_shard
from cxrflow.data.sharding import Shard


def preprocess_shard(
    *, folder: Path, index: Path, settings: PreprocessSettings, threads: int, shard: str, resume: Path, rows: Path
) -> None:
    """Preprocess one shard.

    folder: the dataset's folder
    index: index.csv of the dataset
    settings: size, equalization and blur, as JSON.
    threads: images at once
    shard: which one of how many, such as 2-of-3
    resume: folder for unfinished work of this shard alone, removed at the end
    rows: rows.npy to write; rows.json is written beside it, last
    """
    pack_shard(folder, index, settings, threads, Shard.parse(shard), resume, rows)
    print(f"wrote {rows} ({rows.stat().st_size / 2**20:,.1f} MiB)")


if __name__ == "__main__":
    run_stage(preprocess_shard)
