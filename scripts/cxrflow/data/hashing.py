"""Perceptual hashes of small gray images, and which images may be copies of each other by them. Pure.

The hash is PDQ (Davis and Rosen, Meta, 2019, "The TMK+PDQF video-hashing algorithm and the PDQ image-hashing
algorithm"): the signs of 256 low frequencies. Images are equalised first, so that no change of brightness matters. Two
at d of 256 differing bits have the similarity 1 - d/128.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Gray = NDArray[np.uint8]
Float = NDArray[np.float32]

SIDE_PX = 128  # of a thumbnail: enough to confirm a copy, and 16 KiB
HASH_PX = 64
FREQUENCIES = slice(1, 17)  # of the DCT in both directions; without the mean
MAX_DISTANCE = 56  # bits; of random pairs of real X-rays about 4 in a million are as near
MIN_QUALITY = 50  # of 100; below it PDQ's authors do not trust a hash
NEAREST = 20  # candidates of an image at most, in each view: of a set of look-alikes it would otherwise be all of them
BLOCK = 1024  # images at a time; of the table of similarities 0.2 GB at 56,000 images


def shrink(gray: Gray) -> Gray:
    """Return the thumbnail of an image, uint8 (SIDE_PX, SIDE_PX), whatever its aspect: copies are often squeezed."""
    return np.asarray(cv2.resize(gray, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA), np.uint8)


def list_views(side_px: int = SIDE_PX) -> dict[str, Float]:
    """Return how a copy may lie on its original: {name: affine (2, 3), pixels of the original to those of the view}.

    A margin of 3, 6 or 9 % cut off each side, a turn by 3 degrees either way, or mirrored: each is off by no more than
    the hash bears. Inverse and upright need no view of their own: an inverse has the opposite signs.
    """
    centre = (side_px - 1) / 2
    turned = {f"turned {degrees} degrees": (1.0, degrees) for degrees in (-3, 3)}
    cut = {f"cut by {margin} %": (1 / (1 - margin / 50), 0) for margin in (3, 6, 9)}
    affine = {
        name: cv2.getRotationMatrix2D((centre, centre), degrees, scale).astype(np.float32)
        for name, (scale, degrees) in {"whole": (1.0, 0), **cut, **turned}.items()
    }
    return affine | {"mirrored": np.array([[-1, 0, side_px - 1], [0, 1, 0]], np.float32)}


def hash_views(thumbnails: Sequence[Gray]) -> Iterator[tuple[str, Float]]:
    """Yield each view's name and its hashes, `whole` first: signs, float32 (N, 256) of 1/16 or -1/16.

    thumbnails: N of uint8 (SIDE_PX, SIDE_PX).
    The product of two of them is their similarity, 1 to -1. A thumbnail of a quality below MIN_QUALITY has zeros.
    """
    size = (HASH_PX, HASH_PX)
    from scipy.fft import dct  # here: whatever reads an image would pay for its import

    small = np.empty((len(thumbnails), *size), np.uint8)
    is_good = np.empty(len(thumbnails), bool)
    for number, thumbnail in enumerate(thumbnails):
        plain = np.asarray(cv2.resize(thumbnail, size, interpolation=cv2.INTER_AREA), np.uint8)
        is_good[number] = measure_quality(plain) >= MIN_QUALITY
        small[number] = cv2.resize(cv2.equalizeHist(thumbnail), size, interpolation=cv2.INTER_AREA)
    waves = dct(np.eye(HASH_PX, dtype=np.float32), axis=0)[FREQUENCIES]
    for name, affine in list_views(HASH_PX).items():
        hashes = np.zeros((len(small), 256), np.float32)
        for place in range(0, len(small), BLOCK):  # what comes from outside a view is black
            views = np.stack([cv2.warpAffine(each, affine, size) for each in small[place : place + BLOCK]])
            spectrum = (waves @ views.astype(np.float32) @ waves.T).reshape(len(views), -1)
            signs = np.where(spectrum > np.median(spectrum, axis=1, keepdims=True), 1, -1) / 16
            hashes[place : place + BLOCK] = signs * is_good[place : place + BLOCK, None]
        yield name, hashes


def measure_quality(small: Gray) -> float:
    """Return PDQ's quality of an image of uint8 (64, 64), 0 to 100: how much its grey levels change."""
    steps = sum(np.trunc(np.abs(np.diff(small.astype(np.float32), axis=axis)) * (100 / 255)).sum() for axis in (0, 1))
    return float(min(steps / 90, 100.0))


def find_candidates(thumbnails: Sequence[Gray]) -> Iterator[tuple[int, int, str, bool, int]]:
    """Yield the pairs that may be copies: (number, number of the image it is like, view of the first, inverse, bits).

    Each unordered pair comes once, in its nearest view. Memory: `BLOCK` rows of the table of similarities.
    """
    found: dict[tuple[int, int], tuple[int, int, str, bool, int]] = {}
    plain = np.empty((0, 256), np.float32)
    for name, views in hash_views(thumbnails) if len(thumbnails) else ():
        plain = views if name == "whole" else plain
        for first, second, likeness in find_near(views, plain, name in ("whole", "mirrored")):
            distance = round(128 * (1 - abs(likeness)))
            key = min(first, second), max(first, second)
            if key not in found or distance < found[key][4]:
                found[key] = first, second, name, likeness < 0, distance
    yield from (found[key] for key in sorted(found))


def find_near(views: Float, plain: Float, is_symmetric: bool) -> Iterator[tuple[int, int, float]]:
    """Yield (row of views, row of plain, similarity) of the pairs within MAX_DISTANCE, the NEAREST of each row."""
    least = 1 - MAX_DISTANCE / 128 - 1e-4
    for start in range(0, len(views), BLOCK):
        offset = start + 1 if is_symmetric else 0  # the other half says the same
        table = views[start : start + BLOCK] @ plain[offset:].T
        rows, columns = np.nonzero(np.abs(table) >= least)
        values = table[rows, columns]
        order = np.lexsort((-np.abs(values), rows))
        taken: dict[int, int] = {}
        for row, column, value in zip(rows[order], columns[order], values[order], strict=True):
            first, second = start + int(row), offset + int(column)
            if first == second or (is_symmetric and second < first) or taken.get(first, 0) >= NEAREST:
                continue
            taken[first] = taken.get(first, 0) + 1
            yield first, second, float(value)
