"""The part of a training that one process has: all of it, or its rows of every batch.

`Ranks` is a training in one process, where nothing is divided and nothing is waited for. Its form for several GPUs is
in distributed.py. What trains asks one of the two and need not know which.
"""

from typing import Any

from torch import Tensor, nn


class Ranks:
    """One process that does everything.

    Attributes:
        rank: of this process, from 0.
        count: processes that train together, one per GPU.
    """

    rank = 0
    count = 1

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.rank == 0

    def prepare(self, network: nn.Module) -> None:
        """Make a network on the device ready to be trained together; its layers may be exchanged, not its weights."""

    def open_batch(self, batch: slice) -> slice:
        """Begin a batch, cut from the order of the epoch; return the part of it that this rank computes."""
        return batch

    def forward(self, network: nn.Module, images: Tensor) -> Tensor:
        """Return the network's output for this rank's rows; the gradients are then averaged over the ranks."""
        output: Tensor = network(images)
        return output

    def total(self, values: Tensor) -> Tensor:
        """Return the sum over all ranks, the same bits on each."""
        return values

    def interleave(self, parts: list[Tensor]) -> list[Tensor]:
        """Return the parts of all ranks in order, where each rank has every `count`-th, from its own number on."""
        return parts

    def share(self, value: Any) -> Any:
        """Return the value of the rank that leads."""
        return value


ALONE = Ranks()
