"""The share of an epoch that is not spent in the network, against the same with ImageFolder and a DataLoader.

python -m tests.benchmarks.epoch_share --size quick
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from cxrflow.config.backbones import BACKBONES
from cxrflow.config.settings import TrainSettings
from cxrflow.models.epochs import run_epoch
from cxrflow.models.networks import build_network
from cxrflow.models.subsets import SplitImages
from cxrflow.models.training import Training, start_training
from tests.benchmarks.batches import FOLDER, pil_transform
from tests.benchmarks.drawn import pack_films, work_folder, write_films
from tests.benchmarks.measure import OURS, SHARE, Goal, Row, compare, run_row

SIZES = {"full": (110, 224, 32, 3), "quick": (60, 128, 12, 2), "tiny": (15, 32, 4, 1)}  # images, px, batch, rounds
BACKBONE = "mobilenet_v3_large"  # the fastest of the three: the rest weighs most beside it
NOTE = "training and validation of one epoch, one thread; in the network: forward, backward, optimizer"


class ModelClock:
    """CPU time between the begin and the end of what the network does."""

    def __init__(self) -> None:
        self.spent_s = self._begin_s = 0.0

    def start(self, *_: Any, **__: Any) -> None:
        """Begin to count; takes and ignores what hooks are given."""
        self._begin_s = time.process_time()

    def stop(self, *_: Any, **__: Any) -> None:
        """Stop counting."""
        self.spent_s += time.process_time() - self._begin_s

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that counts while it runs."""

        def timed(*arguments: Any, **keywords: Any) -> Any:
            self.start()
            result = function(*arguments, **keywords)
            self.stop()
            return result

        return timed


@contextmanager
def clock_model(network: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[ModelClock]:
    """Count the CPU time of a network's forward and backward passes and of its optimizer."""
    clock = ModelClock()
    handles = [
        network.register_forward_pre_hook(clock.start),
        network.register_forward_hook(clock.stop),
        optimizer.register_step_pre_hook(clock.start),
        optimizer.register_step_post_hook(clock.stop),
    ]
    with patch.object(Tensor, "backward", clock.wrap(Tensor.backward)):
        yield clock
    for handle in handles:
        handle.remove()


def share_outside(network: nn.Module, optimizer: torch.optim.Optimizer, epoch: Callable[[], object]) -> float:
    """Return percent of the CPU time of an epoch that is not the network's."""
    with clock_model(network, optimizer) as clock:
        begin_s = time.process_time()
        epoch()
        return 100 * (1 - clock.spent_s / (time.process_time() - begin_s))


def start_ours(data: SplitImages, batch: int) -> Training:
    network = build_network(BACKBONE, len(data.class_names), 0.1)
    return start_training(network, data, TrainSettings(batch_size=batch), seed=0, device=torch.device("cpu"))


def run_plain_epoch(network: nn.Module, optimizer: torch.optim.Optimizer, loader: DataLoader[Any]) -> None:
    """Train for one epoch from a DataLoader in this process."""
    network.train()
    for images, labels in loader:
        optimizer.zero_grad()
        functional.cross_entropy(network(images), labels).backward()
        optimizer.step()


def measure_rows(size: str) -> list[Row]:
    """Return one row."""
    count, size_px, batch, rounds = SIZES[size]
    torch.set_num_threads(1)
    peer = FOLDER.format(size_px)
    values: dict[str, list[float]] = {OURS: [], peer: []}
    with work_folder() as folder:
        training = start_ours(pack_films(folder / "images.npy", size_px, count), batch)
        write_films(folder / "films", size_px, 2 * batch)
        loader = DataLoader(ImageFolder(folder / "films", pil_transform()), batch, shuffle=True)
        plain = build_network(BACKBONE, 3, 0.1)
        optimizer = torch.optim.Adam(plain.parameters())
        sides = {
            OURS: partial(share_outside, training.network, training.optimizer, partial(run_epoch, training, 1)),
            peer: partial(share_outside, plain, optimizer, partial(run_plain_epoch, plain, optimizer, loader)),
        }
        for name in [*sides] + [*sides] * rounds:  # the first turn warms up
            values[name].append(sides[name]())
    values = {name: shares[1:] for name, shares in values.items()}
    what = f"epoch outside the network, {BACKBONES[BACKBONE].title}, batch {batch}, {size_px} px"
    return [compare(what, SHARE, values, peer=peer, goal=Goal(2, of_ratio=False), note=NOTE)]


if __name__ == "__main__":
    run_row(measure_rows)
