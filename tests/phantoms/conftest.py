"""A few phantoms that the tests of this folder share."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cxrflow.config.settings import PhantomSettings
from cxrflow.files.atomic import read_json
from phantoms.write import write_phantoms

COUNT = 12


def read_image(path: Path) -> Image.Image:
    """Decode a file in full; an OSError says that it is not an image."""
    image = Image.open(io.BytesIO(path.read_bytes()))
    image.load()
    return image


@dataclass(frozen=True)
class Phantoms:
    folder: Path
    settings: PhantomSettings
    manifest: dict[str, Any]


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Phantoms:
    """Write everything once, in this process; tests must not change it."""
    folder = tmp_path_factory.mktemp("phantoms")
    settings = PhantomSettings(images_per_class=COUNT, size_scale=0.05)
    write_phantoms(folder, settings, folder / "manifest.json")
    return Phantoms(folder, settings, read_json(folder / "manifest.json"))
