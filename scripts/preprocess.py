r"""Preprocess every image of a dataset once, into one array that trainings map into memory.

Reads index.csv and the images it names; writes images.npy, uint8 (N, size, size), 0-255, and images.csv,
which image each is, with a checksum of its pixels. A killed run resumes where it was, from the resume folder.

    python scripts/preprocess.py --folder data/covid --index index.csv --settings '{"size_px": 256}' --threads 2 \
        --resume resume/ --images images.npy
"""

from pathlib import Path

from cxrflow.config.settings import PreprocessSettings
from cxrflow.config.stages import Output, run_stage
from cxrflow.data.packing import pack_images


def preprocess_dataset(
    *, folder: Path, index: Path, settings: PreprocessSettings, threads: int, resume: Path, images: Output
) -> None:
    """Preprocess one dataset.

    folder: the dataset's folder
    index: index.csv of the dataset
    settings: size, equalization and blur, as JSON.
    threads: images at once
    resume: folder for unfinished work, removed at the end
    images: images.npy to write; images.csv goes beside it
    """
    pack_images(folder, index, settings, threads, resume, images)
    print(f"wrote {images} ({images.stat().st_size / 2**20:,.1f} MiB)")


if __name__ == "__main__":
    run_stage(preprocess_dataset)
