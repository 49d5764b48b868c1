from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cxrflow.models.batches import (
    MappedSource,
    ResidentSource,
    batches_in_order,
    cut_batches,
    epoch_order,
    open_source,
)
from tests.models.toy import CPU

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


@given(n_images=st.integers(8, 300), batch_size=st.integers(8, 64), smallest=st.integers(2, 8))
def test_batches_cover_every_image_once_and_none_is_too_small(n_images: int, batch_size: int, smallest: int) -> None:
    batches = cut_batches(n_images, batch_size, smallest)
    assert [i for part in batches for i in range(part.start, part.stop)] == list(range(n_images))
    sizes = [part.stop - part.start for part in batches]
    assert min(sizes) >= smallest
    assert max(sizes) < batch_size + smallest
    assert sizes[:-1] == [batch_size] * (len(sizes) - 1)


def test_order_is_a_permutation_of_its_own_in_each_epoch() -> None:
    order = epoch_order(40, seed=1, epoch=2)
    assert sorted(order.tolist()) == list(range(40))
    assert torch.equal(order, epoch_order(40, seed=1, epoch=2))
    assert not torch.equal(order, epoch_order(40, seed=1, epoch=3))
    assert not torch.equal(order, epoch_order(40, seed=2, epoch=1))


@pytest.fixture
def mapped(tmp_path: Path) -> np.ndarray:
    images = np.random.default_rng(0).integers(0, 256, (1600, 3, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    return np.load(tmp_path / "images.npy", mmap_mode="r")


ROWS = np.arange(1599, 0, -1)  # more than one block of ResidentSource, without row 0, not in file order
PLACES = torch.tensor([1598, 0, 7, 7, 1100])


@pytest.mark.parametrize("source_class", ["mapped", "resident"])
def test_sources_give_the_rows_asked_for(mapped: np.ndarray, source_class: str) -> None:
    source = (MappedSource if source_class == "mapped" else ResidentSource)(mapped, ROWS, CPU)
    assert torch.equal(source.gather(PLACES), torch.from_numpy(mapped[ROWS[PLACES.numpy()]]))


@needs_gpu
def test_sources_on_a_gpu_give_the_rows_asked_for(mapped: np.ndarray) -> None:
    gpu = torch.device("cuda")
    sources = ResidentSource(mapped, ROWS, gpu), MappedSource(mapped, ROWS, gpu)
    for places in torch.randint(0, len(ROWS), (50, 32)):
        batches = [source.gather(places) for source in sources]
        assert torch.equal(batches[0].cpu(), torch.from_numpy(mapped[ROWS[places.numpy()]]))
        assert torch.equal(*batches)


def test_cpu_reads_from_the_map(mapped: np.ndarray) -> None:
    assert isinstance(open_source(mapped, ROWS, CPU), MappedSource)


def test_a_stretch_of_images_comes_in_order(mapped: np.ndarray) -> None:
    rows = np.array([5, 2, 9, 4, 1, 7])
    batches = list(batches_in_order(MappedSource(mapped, rows, CPU), slice(1, 6), 2))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert torch.equal(torch.cat(batches), torch.from_numpy(mapped[rows[1:]]))
