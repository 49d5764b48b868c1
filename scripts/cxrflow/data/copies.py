"""Copies among images: candidates by their hashes, each confirmed on the registered pictures. Pure.

What is compared are thumbnails, equalised so that a change of brightness or contrast is none, and without their slow
changes, in which all chest X-rays are alike. The thresholds were read off 7,044 real X-rays and planted copies
(`python -m tests.data.planted`): of the pairs that are no copies the highest lay at 0.93, of the planted ones, other
than those with another local contrast (CLAHE), the lowest at 0.97.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrflow.data.hashing import SIDE_PX, find_candidates, list_views
from cxrflow.data.reading import map_in_threads

Gray = NDArray[np.uint8]
Float = NDArray[np.float32]

COPY = 0.96  # correlation from which a pair is a copy
LOOK_ALIKE = 0.9  # and from which it is worth a look
TILES = 4  # in each direction; the median over them bears a mark or a label in some
MIN_TILES = 8  # that overlap, of TILES * TILES
FINE_PX, COARSE_PX = 1.0, 8.0  # the band of sizes (Gaussian sigmas) that is compared
ECC = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 12, 1e-4)  # 30 steps found no better fit on real X-rays


@dataclass(frozen=True)
class Copy:
    """Two of the compared images that show the same exposure.

    Attributes:
        first, second: their numbers.
        view: how the second lies on the first, a name of `list_views`; `, inverse` where black is white.
        distance: bits of 256 in which the hashes of that view differ.
        correlation: of the registered pictures, median over tiles, -1 to 1.
    """

    first: int
    second: int
    view: str
    distance: int
    correlation: float

    @property
    def is_copy(self) -> bool:
        """Whether it is a copy; else only a look-alike."""
        return self.correlation >= COPY


def find_copies(thumbnails: Sequence[Gray], threads: int) -> list[Copy]:
    """Return the copies and look-alikes among images, in the order of their numbers.

    thumbnails: N of uint8 (SIDE_PX, SIDE_PX), maybe memory-mapped; each is read a few times.
    """
    judged = map_in_threads(partial(judge_candidate, thumbnails), find_candidates(thumbnails), threads)
    return [copy for copy in judged if copy.correlation >= LOOK_ALIKE]


def judge_candidate(thumbnails: Sequence[Gray], candidate: tuple[int, int, str, bool, int]) -> Copy:
    """Register the second image of a candidate on the first and return how alike they are."""
    first, second, view, is_inverse, distance = candidate
    one, two = thumbnails[first], 255 - thumbnails[second] if is_inverse else thumbnails[second]
    moving, template = (np.asarray(cv2.equalizeHist(each), np.float32) for each in (one, two))
    correlation = correlate(moving, template, list_views()[view])
    return Copy(first, second, view + ", inverse" * is_inverse, distance, correlation)


def correlate(moving: Float, template: Float, affine: Float) -> float:
    """Return the correlation of two thumbnails after the best affine fit, started from `affine`; -1 without a fit.

    moving, template: float32 (SIDE_PX, SIDE_PX), 0-255, equalised.

    The fit is that of Evangelidis and Psarakis 2008 (IEEE TPAMI 30:1858, enhanced correlation coefficient).
    """
    start = np.asarray(cv2.invertAffineTransform(affine), np.float32)
    try:
        _, fitted = cv2.findTransformECC(template, moving, start, cv2.MOTION_AFFINE, ECC)
    except cv2.error:  # the fit left the picture: these are not copies
        return -1.0
    size, flags = (SIDE_PX, SIDE_PX), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    registered = np.asarray(cv2.warpAffine(moving, fitted, size, flags=flags), np.float32)
    overlap = np.asarray(cv2.warpAffine(np.ones_like(moving), fitted, size, flags=flags)) > 0.5
    return correlate_tiles(keep_band(registered), keep_band(template), overlap)


def keep_band(image: Float) -> Float:
    """Return what changes over more than FINE_PX and less than COARSE_PX."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), FINE_PX) - cv2.GaussianBlur(image, (0, 0), COARSE_PX))


def correlate_tiles(one: Float, two: Float, overlap: NDArray[np.bool_]) -> float:
    """Return the median over tiles of the correlation where both pictures are; -1 where too little overlaps."""
    edges = range(0, SIDE_PX, SIDE_PX // TILES)
    tiles = [np.s_[y : y + SIDE_PX // TILES, x : x + SIDE_PX // TILES] for y in edges for x in edges]
    values = [_correlation(one[t][overlap[t]], two[t][overlap[t]]) for t in tiles if overlap[t].mean() > 0.5]
    return float(np.median(values)) if len(values) >= MIN_TILES else -1.0


def _correlation(one: Float, two: Float) -> float:
    one, two = one - one.mean(), two - two.mean()
    scale = float(np.sqrt((one @ one) * (two @ two)))
    return float(one @ two) / scale if scale > 0 else 0.0
