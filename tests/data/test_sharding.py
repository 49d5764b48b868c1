"""Shards cover an index once and in order, and a recipe's folder tells how many there are."""

from pathlib import Path

import pytest

from cxrflow.data.sharding import Shard, find_count, list_shards, share_of
from cxrflow.errors import CxrflowError


@pytest.mark.parametrize(("n_rows", "count"), [(10, 1), (10, 3), (3, 7), (0, 2), (112_120, 256)])
def test_shards_cover_every_row_once_in_order_and_evenly(n_rows: int, count: int) -> None:
    parts = [range(n_rows)[shard.stretch(n_rows)] for shard in list_shards(count)]
    assert [row for part in parts for row in part] == list(range(n_rows))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_name_is_read_back() -> None:
    assert [shard.name for shard in list_shards(3)] == ["1-of-3", "2-of-3", "3-of-3"]
    assert Shard.parse("2-of-3") == Shard(2, 3)
    assert (share_of("2-of-4"), share_of("")) == (0.25, 1)


@pytest.mark.parametrize("name", ["4-of-3", "0-of-3", "2", "2-of-3-of-4", "a-of-b", ""])
def test_what_names_no_shard_is_refused(name: str) -> None:
    with pytest.raises(CxrflowError, match="names no shard"):
        Shard.parse(name)


def test_the_number_of_a_packing_is_that_of_its_folders(tmp_path: Path) -> None:
    assert find_count(tmp_path) is None
    (tmp_path / "shards/other").mkdir(parents=True)
    assert find_count(tmp_path) is None
    (tmp_path / "shards/2-of-12").mkdir()
    assert find_count(tmp_path) == 12
    (tmp_path / "shards/1-of-3").mkdir()
    with pytest.raises(CxrflowError, match=r"shards holds shards of packings into 3 and 12: remove"):
        find_count(tmp_path)
