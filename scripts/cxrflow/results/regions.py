"""Annotated regions on the grid of a Grad-CAM map: boxes in a file's pixels and PNG masks, as shares of covered pixels.

Reads the masks that regions.csv names.
"""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrflow.errors import CxrflowError
from cxrflow.files.records import IndexRow, RegionRow

Coverage = NDArray[np.float32]  # float32 (h, w), 0-1: the share of each pixel that lies in the region


def group_regions(rows: Iterable[RegionRow]) -> dict[str, dict[str, list[RegionRow]]]:
    """Return {image_id: {kind: its rows}}."""
    grouped: dict[str, dict[str, list[RegionRow]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        grouped[row.image_id][row.kind].append(row)
    return {image_id: dict(kinds) for image_id, kinds in grouped.items()}


def cover_regions(rows: Iterable[RegionRow], image: IndexRow, folder: Path, size_px: int) -> Coverage:
    """Return the union of an image's regions on the square that the network sees, size_px to a side.

    The image was squeezed to that square, so x and y have a scale each. Where regions overlap, the larger share counts.

    folder: of the dataset, for masks.

    Raises:
        CxrflowError: a region is empty or outside the image, or a mask cannot be read.
    """
    coverage = np.zeros((size_px, size_px), np.float32)
    for row in rows:
        part = cover_mask(folder / row.mask_path, size_px) if row.mask_path else cover_box(row, image, size_px)
        if not part.any():
            what = row.mask_path or f"box x {row.x_px:g}, y {row.y_px:g}, {row.width_px:g} x {row.height_px:g} px"
            raise CxrflowError(
                f"image {image.image_id}: its {row.kind} region ({what}) holds no pixel of the {image.width} x"
                f" {image.height} px image; correct or remove it in the dataset's annotations and run index again"
            )
        np.maximum(coverage, part, out=coverage)
    return coverage


def cover_box(row: RegionRow, image: IndexRow, size_px: int) -> Coverage:
    """Return the coverage of a box given in the file's pixels; what lies outside the image is cut off."""
    across = _cover_line(row.x_px, row.width_px, size_px / image.width, size_px)
    down = _cover_line(row.y_px, row.height_px, size_px / image.height, size_px)
    return np.asarray(np.outer(down, across), np.float32)


def _cover_line(start_px: float, length_px: float, scale: float, size_px: int) -> Coverage:
    """Return how much of each of `size_px` unit steps lies between start and start + length, both scaled."""
    steps = np.arange(size_px)
    overlap = np.minimum(steps + 1, (start_px + length_px) * scale) - np.maximum(steps, start_px * scale)
    return np.asarray(np.clip(overlap, 0.0, 1.0), np.float32)


def cover_mask(path: Path, size_px: int) -> Coverage:
    """Read a PNG mask, non-zero in any colour channel is inside, and return its coverage.

    Raises:
        CxrflowError: it is missing or no image.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise CxrflowError(
            f"{path} is not there, and regions.csv names it as a mask: put it back or run index again"
        ) from None
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if pixels is None:
        raise CxrflowError(f"{path} is no image that can be read: replace this mask, or remove it and run index again")
    channels = pixels.reshape(*pixels.shape[:2], -1)[..., :3]  # a fourth one is opacity, not mask
    inside = (channels != 0).any(axis=2).astype(np.float32)
    method = cv2.INTER_AREA if min(inside.shape) >= size_px else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(inside, (size_px, size_px), interpolation=method), np.float32)
