"""A tiny model, exported."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cxrflow.config.settings import PreprocessSettings
from cxrflow.deliver.exporting import describe_model, export_model
from cxrflow.files.atomic import write_bytes
from cxrflow.models.checkpoints import SavedModel, save_model
from cxrflow.models.networks import build_network, fit_to_size, to_network_input
from tests.models.conftest import _one_thread, _tiny_backbone  # noqa: F401  # here too

SIZE_PX = 18  # its features are then 6x6, which the older exporter can pool to 2x1
N_FILES = 21  # more than two batches
CLASS_NAMES = ["dark", "light", 'third, "odd" é']


def make_noise(n_images: int, size_px: int) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (n_images, size_px, size_px), dtype=np.uint8)


def make_saved(
    backbone: str = "tiny", size_px: int = SIZE_PX, class_names: list[str] | None = None, seed: int = 4
) -> SavedModel:
    """Make a model with drawn weights whose BatchNorm has seen images: fresh statistics let activations fade."""
    names = class_names or CLASS_NAMES
    network = build_network(backbone, len(names), batch_norm_momentum=1.0, seed=seed - 1)
    fit_to_size(network, backbone, size_px)
    torch.manual_seed(1)  # stochastic depth
    with torch.no_grad():
        network.train()(to_network_input(torch.from_numpy(make_noise(8, size_px))))
    preprocess = PreprocessSettings(size_px=size_px, blur_px=3)
    return SavedModel(network.state_dict(), "toy", backbone, "scratch", "base", seed, names, preprocess, 7, 0.5, 0.1)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Write a tiny model.pt with its checksum and its training.json; return its path."""
    path = tmp_path / "model.pt"
    save_model(path, make_saved())
    path.with_name("training.json").write_text('{"key": "0123456789abcdef", "n_train": 1234, "host": "secret-node"}')
    return path


@pytest.fixture
def exported(model: Path) -> Path:
    """Write model.onnx beside the model.pt; return its path."""
    saved = make_saved()
    path = model.with_suffix(".onnx")
    write_bytes(path, export_model([saved], describe_model(saved, model, model.with_name("training.json"))))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write PNG files, one of them into a folder below."""
    place = tmp_path / "new"
    (place / "below").mkdir(parents=True)
    for number, image in enumerate(make_noise(N_FILES, 40)):
        name = f"below/{number:02d}.png" if number == 3 else f"{number:02d}.png"
        cv2.imwrite(str(place / name), image)
    (place / "notes.txt").write_text("no image")
    return place
