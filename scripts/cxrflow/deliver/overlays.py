"""Pictures of where a model saw its evidence: the map in colour over the film, one PNG file for each X-ray."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrflow.deliver.tool import Answer, Tool
from cxrflow.errors import CxrflowError

OPACITY = 0.6  # of the hottest place; in proportion below, so that without heat the X-ray alone is seen


def prepare_maps(tool: Tool, folder: Path) -> None:
    """Make the folder of the pictures.

    Raises:
        CxrflowError: the model has no maps, or the folder holds something, which may be a person's.
    """
    if tool.grid is None:
        raise CxrflowError(f"{tool.card.name} has no maps: read without --maps")
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise CxrflowError(f"{folder} is not empty, so no maps are written there: name another folder")


def write_overlay(answer: Answer, folder: Path, number: int) -> None:
    """Write the map of an answer that has pictures, named by its number in the order of the answers and its file."""
    if answer.film is None or answer.heatmap is None:
        return
    stem = "".join(c if c.isalnum() or c in "-_." else "_" for c in Path(answer.name).stem)[:80]
    picture = cv2.imencode(".png", draw_overlay(answer.film, answer.heatmap))[1]
    (folder / f"{number:04d}_{stem}.png").write_bytes(picture.tobytes())


def draw_overlay(film: NDArray[np.uint8], heatmap: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay a map, uint8 (size_px, size_px), over a film, uint8 (H, W): uint8 (H, W, 3) BGR, opaque where hot."""
    height, width = film.shape
    heat = np.asarray(cv2.resize(heatmap, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    opacity = OPACITY * heat[..., None] / 255
    colours = cv2.applyColorMap(heat, cv2.COLORMAP_INFERNO)
    return np.asarray(np.rint((1 - opacity) * film[..., None] + opacity * colours), np.uint8)
