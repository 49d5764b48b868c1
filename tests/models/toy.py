"""A network that trains in milliseconds and a dataset that it can learn, for tests."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models._api import register_model

from cxrflow.config.backbones import BACKBONES, Backbone, find_size_problem
from cxrflow.config.settings import StudySettings, TrainSettings
from cxrflow.files.records import SplitRow
from cxrflow.files.tables import write_records
from cxrflow.models.batches import SplitImages, join_split
from cxrflow.models.networks import build_network, fit_to_size
from cxrflow.models.ranks import ALONE, Ranks
from cxrflow.models.training import Training, start_training
from tests.packed import save_images

CPU = torch.device("cpu")
SIZE_PX = 12
N_FEATURES = 16

TINY = Backbone(title="Tiny")
NEEDS_TIMM = pytest.mark.skipif(find_spec("timm") is None, reason="the environment is older than the lock: make setup")
# Every backbone that takes images of 64 px; the quick tests have those that the study compares. ViT-B/14 is in
# test_transformers.py.
COMPARED = StudySettings(study="toy", datasets={}, data_root="").backbones
AT_64_PX = [
    pytest.param(name, marks=[NEEDS_TIMM] * (entry.library == "timm") + [pytest.mark.slow] * (name not in COMPARED))
    for name, entry in BACKBONES.items()
    if not find_size_problem(name, 64)
]
CONVOLUTIONAL = [name for name, entry in BACKBONES.items() if entry.library == "torchvision"]


class TinyNetwork(nn.Module):
    """Two convolutions, with the BatchNorm and dropout that make a resumed training hard to get right."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, bias=False),
            nn.BatchNorm2d(8, momentum=0.01),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, bias=False),
            nn.BatchNorm2d(16, momentum=0.01),
            nn.ReLU(),
        )
        self.pool = nn.AdaptiveAvgPool2d((2, 1))
        self.middle = nn.Linear(32, N_FEATURES)
        self.classifier = nn.Sequential(nn.Dropout(0.1), nn.Linear(N_FEATURES, 1000))

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.middle(self.pool(self.features(images)).flatten(1)).relu())


@register_model("tiny")
@register_model("tiny2")
def build_tiny(*, weights: None = None) -> nn.Module:
    return TinyNetwork()


def toy_images(labels: NDArray[np.int64], size_px: int = SIZE_PX) -> NDArray[np.uint8]:
    """Draw noise whose upper half is bright in class 1 and whose lower half is bright in class 0."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 100, (len(labels), size_px, size_px), dtype=np.uint8)
    half = size_px // 2
    images[labels == 1, :half] += 100
    images[labels == 0, half:] += 100
    return images


def toy_rows(labels: NDArray[np.int64], n_train: int, n_val: int) -> list[SplitRow]:
    """Put the first images into train, the next into val, the rest into test."""
    subsets = ["train"] * n_train + ["val"] * n_val + ["test"] * (len(labels) - n_train - n_val)
    return [
        SplitRow(f"image{i}", ("dark", "light")[label], f"patient{i}", f"patient{i}", subset)
        for i, (label, subset) in enumerate(zip(labels, subsets, strict=True))
    ]


def toy_labels(n_images: int) -> NDArray[np.int64]:
    """Return two classes in turn, with one of class 1 for two of class 0."""
    return (np.arange(n_images) % 3 == 1).astype(np.int64)


def toy_data(n_train: int = 30, n_val: int = 12, n_test: int = 9, size_px: int = SIZE_PX) -> SplitImages:
    labels = toy_labels(n_train + n_val + n_test)
    learned = slice(n_train + n_val)  # without the test images, which lie in files of their own
    return join_split(toy_images(labels, size_px)[learned], toy_rows(labels, n_train, n_val)[learned])


def write_packed(folder: Path, images: NDArray[np.uint8], rows: list[SplitRow]) -> None:
    """Write a dataset as preprocess and split do."""
    for name, table, is_test in (("images.npy", "split.csv", False), ("test/images.npy", "test.csv", True)):
        places = [place for place, row in enumerate(rows) if (row.subset == "test") == is_test]
        (folder / name).parent.mkdir(exist_ok=True)
        save_images(folder / name, images[places], [rows[place] for place in places])
        write_records(folder / table, SplitRow, [rows[place] for place in places])


def training_files(folder: Path, out: Path) -> dict[str, Path]:
    """Return the files of a training: what it reads in one folder, what it writes in another."""
    written = {"resume": "resume", "history": "history.csv", "training": "training.json", "model": "model.pt"}
    read = {"images": folder / "images.npy", "split": folder / "split.csv"}
    return read | {name: out / file for name, file in written.items()}


def toy_training(
    settings: TrainSettings,
    data: SplitImages | None = None,
    seed: int = 0,
    backbone: str = "tiny",
    ranks: Ranks = ALONE,
    new_layers: str = "",
) -> Training:
    data = data or toy_data()
    network = build_network(backbone, len(data.class_names), settings.batch_norm_momentum, seed)
    fit_to_size(network, backbone, data.images.shape[-1])
    return start_training(network, data, settings, seed=seed, device=CPU, ranks=ranks, new_layers=new_layers)


def equal_weights(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two state dicts are the same, bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
