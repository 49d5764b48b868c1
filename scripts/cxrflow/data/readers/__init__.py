"""How datasets lie on disk: a module per reader, named in the table `cxrflow.config.readers.READERS`.

A dataset laid out as one folder per class, or as a table beside images, needs no reader of its own: `folders` and `csv`
read it with a few lines of YAML.
"""

import importlib
from pathlib import Path

from cxrflow.config.readers import READERS
from cxrflow.config.settings import DatasetSettings
from cxrflow.data.readers.base import Listing


def reader_module(reader: str) -> str:
    """Return the dotted name of the module that reads a layout."""
    return f"{__name__}.{READERS[reader].module}"


def list_images(folder: Path, settings: DatasetSettings) -> Listing:
    """List a dataset's images with label and patient, before any pixel is read.

    Raises:
        CxrflowError: the folder is not laid out as the reader expects.
    """
    listing: Listing = importlib.import_module(reader_module(settings.reader)).list_images(folder, settings)
    return listing
