r"""Preprocess every image of a dataset once, into two arrays: one that trainings map into memory, one of test images.

Reads index.csv, the images it names, split.csv and test.csv; for each of the two writes images.npy, uint8
(N, size, size), 0-255, and beside it images.csv, which image each is, with a checksum of its pixels. A killed run
resumes where it was, from the resume folder.

    python scripts/preprocess.py --folder data/covid --index index.csv --split split.csv --test test.csv \
        --settings '{"size_px": 256}' --threads 2 --resume resume/ --images images.npy --test-images test/images.npy
"""

import contextlib
from pathlib import Path

from cxrflow.config.settings import PreprocessSettings
from cxrflow.config.stages import Output, run_stage
from cxrflow.data.packing import pack_images, read_part


def preprocess_dataset(
    *,
    folder: Path,
    index: Path,
    split: Path,
    test: Path,
    settings: PreprocessSettings,
    threads: int,
    resume: Path,
    images: Output,
    test_images: Output,
) -> None:
    """Preprocess one dataset.

    folder: the dataset's folder
    index: index.csv of the dataset
    split: split.csv of the dataset
    test: test.csv of the dataset
    settings: size, equalization and blur, as JSON.
    threads: images at once
    resume: folder for unfinished work, removed at the end
    images: images.npy to write, of split.csv; images.csv goes beside it
    test_images: images.npy to write, of test.csv; images.csv goes beside it
    """
    for part, packed in ((test, test_images), (split, images)):
        pack_images(folder, read_part(index, part), settings, threads, resume / part.stem, packed)
        print(f"wrote {packed} ({packed.stat().st_size / 2**20:,.1f} MiB)")
    with contextlib.suppress(OSError):  # another run waits in it, or works
        resume.rmdir()


if __name__ == "__main__":
    run_stage(preprocess_dataset)
