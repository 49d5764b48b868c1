"""One training on several GPUs: DistributedDataParallel, equal to the training on one GPU but for rounding.

Each process has a GPU, the whole network, and a contiguous part of the rows of every batch; order, augmentation and
noise are drawn for the whole batch. Gradients, BatchNorm statistics and the epoch's sums run over all processes.
"""

import platform
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from cxrflow.errors import CxrflowError
from cxrflow.models.ranks import ALONE, Ranks
from cxrflow.models.synchronized import synchronize_layers

BACKENDS = {"cpu": "gloo", "cuda": "nccl"}


class RankOfGroup(Ranks):
    """One process of the group that trains together.

    Attributes:
        batch_size: rows of the whole batch under way.
        own_rows: this rank's among them; may be none.
    """

    def __init__(self) -> None:
        """Take rank and count from the process group."""
        self.rank = distributed.get_rank()
        self.count = distributed.get_world_size()
        self.batch_size = 0
        self.own_rows = slice(0, 0)

    def prepare(self, network: nn.Module) -> None:
        """Synchronize the layers, and from now on add up the gradients of the processes at every backward pass."""
        synchronize_layers(network, self)
        self._parallel = DistributedDataParallel(network)

    def open_batch(self, batch: slice) -> slice:
        """Cut a batch into `count` parts, as equal as can be, and return this rank's."""
        self.batch_size = batch.stop - batch.start
        first, last = (self.batch_size * rank // self.count for rank in (self.rank, self.rank + 1))
        self.own_rows = slice(first, last)
        return slice(batch.start + first, batch.start + last)

    def forward(self, network: nn.Module, images: Tensor) -> Tensor:
        """Return the output for this rank's rows, through the wrapper that `prepare` made of the network."""
        output: Tensor = self._parallel(images)
        return output

    def total(self, values: Tensor) -> Tensor:
        """Return the sum over the ranks."""
        values = values.clone()
        distributed.all_reduce(values)
        return values

    def interleave(self, parts: list[Tensor]) -> list[Tensor]:
        """Return the parts of all ranks in order, on the CPU: they may differ in length, and a rank may have none."""
        parts_of: list[list[Tensor]] = [[] for _ in range(self.count)]
        distributed.all_gather_object(parts_of, [part.cpu() for part in parts])
        n_parts = sum(map(len, parts_of))
        return [parts_of[place % self.count][place // self.count] for place in range(n_parts)]

    def share(self, value: Any) -> Any:
        """Send a value that can be pickled from the rank that leads to the others."""
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]


def find_ranks() -> Ranks:
    """Return this process's place among those that train together: alone, unless it was started as one of them."""
    return RankOfGroup() if distributed.is_initialized() else ALONE


def choose_backend(count: int, device: str) -> str:
    """Return how the processes talk: nccl between GPUs; gloo where the setting `device` is cpu.

    Raises:
        CxrflowError: there are fewer GPUs than processes. `auto` takes no CPU in their place.
    """
    visible = torch.cuda.device_count()
    if device != "cpu" and count > visible:
        raise CxrflowError(
            f"compute.gpus is {count}, and PyTorch sees {visible} on {platform.node()}: set compute.gpus to 1 or to "
            "what is there, or ask for more (the profile slurm asks for as many; CUDA_VISIBLE_DEVICES can hide some)"
        )
    return BACKENDS["cpu" if device == "cpu" else "cuda"]
