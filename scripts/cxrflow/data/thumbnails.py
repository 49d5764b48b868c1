"""thumbnails.npy: the kept images of a dataset at 128 px, for the search of copies, as one memory-mapped array.

Images are read before it is known which are kept and in what order, so their thumbnails first go to an unnamed file.
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from cxrflow.data.hashing import SIDE_PX, Gray
from cxrflow.data.packing import npy_header
from cxrflow.files.atomic import write_atomically

SIZE = SIDE_PX * SIDE_PX  # bytes of one


class ThumbnailFile:
    """Takes thumbnails one by one; memory does not grow with their number."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._places: dict[str, int] = {}

    def keep(self, image_id: str, thumbnail: Gray) -> None:
        """Take the thumbnail of an image, uint8 (SIDE_PX, SIDE_PX)."""
        self._places[image_id] = len(self._places)
        self._file.write(np.ascontiguousarray(thumbnail).data)

    def close(self) -> None:
        """Give the space back."""
        self._file.close()

    def write(self, path: Path, image_ids: Iterable[str]) -> None:
        """Write the thumbnails of these images, in this order."""
        wanted = list(image_ids)
        with write_atomically(path) as temporary, temporary.open("wb") as handle:
            handle.write(npy_header((len(wanted), SIDE_PX, SIDE_PX)))
            for image_id in wanted:
                self._file.seek(self._places[image_id] * SIZE)
                handle.write(self._file.read(SIZE))
