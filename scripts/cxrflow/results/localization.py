"""How much of a Grad-CAM map lies in the annotated region, beside what maps that know nothing of the image would score.

Two numbers per image and kind of region. The inside share is the share of the map's sum that lies in the region
(the energy-based pointing game, Wang et al. 2020, Score-CAM, CVPR workshops). A hit is a map whose maximum lies in the
region (the pointing game, Zhang et al. 2018, Top-down Neural Attention by Excitation Backprop, IJCV 126). They allow
15 px around objects of photographs; here the tolerance is 0, because 15 of 224 px is as large as many a lesion.

Neither number means anything alone: most lesions lie near the middle of a chest X-ray. Hence the baselines.
A centred map is a Gaussian around the image's middle with a standard deviation of a quarter of the side: it knows where
lungs usually are. A uniform map scores the region's share of the image.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrflow.results.regions import Coverage

Map = NDArray[np.float32]  # float32 (h, w), at least 0

CENTRED_DEVIATION = 0.25  # of the side: one deviation around the middle covers the middle half of the image
TIE = 1e-6  # values this close to the maximum, relative to it, are equal to it


@dataclass(frozen=True)
class LocalizationRow:
    """gradcam.csv: one scored test image and kind of region.

    Attributes:
        image_id, label, predicted: as in predictions.csv; the map explains `predicted`.
        region: `lesion` or `lungs`.
        inside_share, inside_share_centred, inside_share_uniform: 0 to 1, of the map and of the two baselines.
        hit, hit_centred: 1 when the maximum lies in the region, else 0.
        empty_map: 1 when the map is 0 everywhere; its inside_share and hit are 0.
    """

    image_id: str
    label: str
    predicted: str
    region: str
    inside_share: float
    inside_share_centred: float
    inside_share_uniform: float
    hit: int
    hit_centred: int
    empty_map: int


def inside_share(heat: Map, region: Coverage) -> float:
    """Return the share of the map's sum that lies in the region, pixels counted by the share of them that is covered.

    0 for a map that is 0 everywhere: it explains nothing.
    """
    total = float(heat.sum(dtype=np.float64))
    return float((heat * region).sum(dtype=np.float64)) / total if total > 0 else 0.0


def hits_region(heat: Map, region: Coverage) -> bool:
    """Return whether the map's maximum lies on a pixel that the region touches; False for a map of zeros."""
    return bool(heat.any()) and bool(region[find_peak(heat)] > 0)


def find_peak(heat: Map) -> tuple[int, int]:
    """Return row and column of the maximum; of several equal ones, the one nearest to the image's middle.

    A map is enlarged from a few cells. A cell at the border then has one value from its centre out to the image's edge;
    the pixel of that plateau nearest to the middle is the cell's centre, while the first one may be the image's corner.
    """
    places = np.argwhere(heat >= heat.max() * (1 - TIE))
    distance = ((places - (np.array(heat.shape) - 1) / 2) ** 2).sum(axis=1)
    row, column = places[distance.argmin()]
    return int(row), int(column)


def centred_map(size_px: int) -> Map:
    """Return the Gaussian baseline: float32 (size_px, size_px), 1 in the middle."""
    offset = (np.arange(size_px) + 0.5) / size_px - 0.5
    line = np.exp(-0.5 * (offset / CENTRED_DEVIATION) ** 2)
    return np.outer(line, line).astype(np.float32)


def score_map(heat: Map, region: Coverage, *, image_id: str, label: str, predicted: str, kind: str) -> LocalizationRow:
    """Score one map and its two baselines against one region."""
    centred = centred_map(len(heat))
    return LocalizationRow(
        image_id=image_id,
        label=label,
        predicted=predicted,
        region=kind,
        inside_share=inside_share(heat, region),
        inside_share_centred=inside_share(centred, region),
        inside_share_uniform=float(region.mean(dtype=np.float64)),
        hit=int(hits_region(heat, region)),
        hit_centred=int(hits_region(centred, region)),
        empty_map=int(not heat.any()),
    )


def summarize_rows(rows: Sequence[LocalizationRow], layer: str) -> dict[str, Any]:
    """Return the content of gradcam.json: the means over images for each kind of region that occurs.

    layer: dotted path of the Grad-CAM layer.
    """
    kinds = sorted({row.region for row in rows})
    return {
        "layer": layer,
        "n_scored": len({row.image_id for row in rows}),
        "n_empty_maps": len({row.image_id for row in rows if row.empty_map}),
        "regions": {kind: _mean_scores([row for row in rows if row.region == kind]) for kind in kinds},
    }


def _mean_scores(rows: Sequence[LocalizationRow]) -> Mapping[str, float | int]:
    return {
        "n_images": len(rows),
        "inside_share": _mean(row.inside_share for row in rows),
        "inside_share_centred": _mean(row.inside_share_centred for row in rows),
        "inside_share_uniform": _mean(row.inside_share_uniform for row in rows),
        "pointing_hit_rate": _mean(row.hit for row in rows),
        "pointing_hit_rate_centred": _mean(row.hit_centred for row in rows),
    }


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
