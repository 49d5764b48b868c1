"""Open images.npy. Apart from packing, so that a change in how image files are read retrains nothing by itself."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrflow.errors import CxrflowError


def load_images(path: Path, n_images: int | None = None) -> NDArray[np.uint8]:
    """Open images.npy as a read-only memory map, uint8 (N, H, W), 0-255.

    n_images: rows it must have, as in the index or the split.

    Raises:
        CxrflowError: missing, not a .npy file, cut off, another type or shape, or another number of images.
    """
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise CxrflowError(
            f"{path} does not exist: make it first (Snakemake makes any file that is requested by name)"
        ) from None
    except (ValueError, EOFError, OSError) as error:
        raise CxrflowError(f"{path} is not a complete .npy file ({error}): run preprocess again") from None
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 3:
        found = f"{getattr(images, 'dtype', type(images).__name__)} {getattr(images, 'shape', '')}"
        raise CxrflowError(f"{path}: expected uint8 (N, H, W), got {found}; run preprocess again")
    if n_images is not None and len(images) != n_images:
        raise CxrflowError(
            f"{path} has {len(images):,} images, and the index has {n_images:,}: one of the two is outdated;"
            " run preprocess again"
        )
    return images
