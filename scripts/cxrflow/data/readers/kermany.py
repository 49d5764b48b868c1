"""Being written."""

from pathlib import Path

from cxrflow.data.readers.base import Listing
from cxrflow.settings import DatasetSettings


def list_images(folder: Path, settings: DatasetSettings) -> Listing:
    """List the images of a folder."""
    raise NotImplementedError
