"""Feed one epoch to no network, or a few steps to one, in a process whose memory is watched by memory.py.

python -m tests.benchmarks.memory_child feed images.npy split.csv 224
"""

import sys
from pathlib import Path

import torch

from cxrflow.config.backbones import BACKBONES
from cxrflow.config.settings import TrainSettings
from cxrflow.models.augment import augment, sample_changes
from cxrflow.models.batches import cut_batches, epoch_order, open_split_images
from cxrflow.models.devices import keep_freed_memory
from cxrflow.models.epochs import train_step
from cxrflow.models.networks import build_network, normalize_gray
from cxrflow.models.training import Training, start_training

STEPS = 3  # the second has the optimizer's state as well; the third shows whether it goes on growing
AUGMENTED = 100  # every such batch; all are read: what lasts from one to the next would show
SETTINGS = TrainSettings()


def feed_epoch(training: Training) -> None:
    """Read every batch of an epoch and augment some, as the training loop does."""
    n_train = len(training.labels["train"])
    order, draws = epoch_order(n_train, 0, 1), sample_changes(n_train, SETTINGS, 0, 1)
    for number, part in enumerate(cut_batches(n_train, SETTINGS.batch_size)):
        images = training.sources["train"].gather(order[part])
        if number % AUGMENTED == 0:
            normalize_gray(augment(images, draws.of(order[part]), SETTINGS.sharpness_factor))


def take_steps(training: Training) -> None:
    """Take the first steps of an epoch."""
    n_train = len(training.labels["train"])
    order, draws = epoch_order(n_train, 0, 1), sample_changes(n_train, SETTINGS, 0, 1)
    for part in cut_batches(n_train, SETTINGS.batch_size)[:STEPS]:
        train_step(training, order[part], draws.of(order[part]), 1e-4)


def main() -> None:
    """Do what the command line says."""
    way, images, split, size_px = sys.argv[1:]
    torch.set_num_threads(1)
    data = open_split_images(Path(images), Path(split), int(size_px))
    keep_freed_memory()  # as train.py does
    network = build_network(way if way in BACKBONES else "mobilenet_v3_large", len(data.class_names), 0.1)
    training = start_training(network, data, SETTINGS, seed=0, device=torch.device("cpu"))
    feed_epoch(training) if way == "feed" else take_steps(training)


if __name__ == "__main__":
    main()
