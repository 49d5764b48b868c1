"""Train for one epoch with a network that costs nothing, in a process whose time and memory growth.py measures.

python -m tests.benchmarks.growth_child images.npy split.csv 16
"""

import sys
from pathlib import Path

import torch
from torch import nn

from cxrflow.config.settings import TrainSettings
from cxrflow.models.epochs import run_epoch
from cxrflow.models.subsets import open_split_images
from cxrflow.models.training import start_training


def main() -> None:
    """Do what the command line says."""
    images, split, size_px = sys.argv[1:]
    torch.set_num_threads(1)
    data = open_split_images(Path(images), Path(split), int(size_px))
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, len(data.class_names)))
    run_epoch(start_training(network, data, TrainSettings(), seed=0, device=torch.device("cpu")), 1)


if __name__ == "__main__":
    main()
