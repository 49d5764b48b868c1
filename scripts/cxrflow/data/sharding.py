"""Shards of a packing: stretches of rows of an index, each packed by a job of its own, and where they lie.

Reads names of folders only, and imports no numpy: planning and status ask here.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from cxrflow.errors import CxrflowError

FOLDER = "shards"  # beside images.npy: a folder per shard, whose log stays when its rows have been joined
NAME = re.compile(r"([1-9]\d*)-of-([1-9]\d*)")


@dataclass(frozen=True)
class Shard:
    """One of `count` stretches of an index, numbered from 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, name: str) -> "Shard":
        """Read a name such as `2-of-3`.

        Raises:
            CxrflowError: it is none.
        """
        match = NAME.fullmatch(name)
        if not match or int(match[1]) > int(match[2]):
            raise CxrflowError(f"{name!r} names no shard: write it as 2-of-3, the first number from 1 to the second")
        return cls(int(match[1]), int(match[2]))

    @property
    def name(self) -> str:
        """How its folder is called, for example `2-of-3`."""
        return f"{self.number}-of-{self.count}"

    def stretch(self, n_rows: int) -> slice:
        """Return its rows of `n_rows`; shards differ by one row at most, and may have none."""
        return slice((self.number - 1) * n_rows // self.count, self.number * n_rows // self.count)


def list_shards(count: int) -> list[Shard]:
    """Return the shards of a packing in the order of their rows."""
    return [Shard(number, count) for number in range(1, count + 1)]


def find_count(folder: Path) -> int | None:
    """Return in how many shards the images of a recipe's folder are or were packed; None: in none.

    Raises:
        CxrflowError: its shards are of different packings.
    """
    names = [NAME.fullmatch(path.name) for path in (folder / FOLDER).glob("*-of-*")]
    counts = sorted({int(name[2]) for name in names if name})
    if len(counts) > 1:
        raise CxrflowError(
            f"{folder / FOLDER} holds shards of packings into {' and '.join(map(str, counts))}: remove the folders of"
            " all but one of them"
        )
    return counts[0] if counts else None


def share_of(shard: str) -> float:
    """Return the share of a dataset's images that a shard of this name has; 1 for no name."""
    return 1 / Shard.parse(shard).count if shard else 1.0
