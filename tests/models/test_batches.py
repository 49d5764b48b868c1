from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cxrflow.models.batches import (
    MappedSource,
    PinnedSource,
    ResidentSource,
    batches_in_order,
    cut_batches,
    epoch_order,
    open_source,
)
from tests.models.toy import CPU

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


@given(n_images=st.integers(2, 300), batch_size=st.integers(2, 64))
def test_batches_cover_every_image_once_and_none_is_single(n_images: int, batch_size: int) -> None:
    batches = cut_batches(n_images, batch_size)
    assert [i for part in batches for i in range(part.start, part.stop)] == list(range(n_images))
    sizes = [part.stop - part.start for part in batches]
    assert min(sizes) >= 2
    assert max(sizes) <= batch_size + 1
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
    source = MappedSource(mapped, ROWS) if source_class == "mapped" else ResidentSource(mapped, ROWS, CPU)
    assert torch.equal(source.gather(PLACES), torch.from_numpy(mapped[ROWS[PLACES.numpy()]]))


@needs_gpu
def test_sources_on_a_gpu_give_the_rows_asked_for(mapped: np.ndarray) -> None:
    gpu = torch.device("cuda")
    sources = ResidentSource(mapped, ROWS, gpu), PinnedSource(mapped, ROWS, gpu)
    for places in torch.randint(0, len(ROWS), (50, 32)):  # many turns of the two buffers, none waited for
        batches = [source.gather(places) for source in sources]
        assert torch.equal(batches[0].cpu(), torch.from_numpy(mapped[ROWS[places.numpy()]]))
        assert torch.equal(*batches)


def test_pinned_buffers_are_used_in_turn(mapped: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """The logic without a GPU: page-locked memory and events are stood in for."""
    waits: list[str] = []

    class Event:
        def __init__(self) -> None:
            self.name = f"buffer {id(self)}"

        def synchronize(self) -> None:
            waits.append(self.name)

        def record(self) -> None:
            waits.append(f"copied {self.name}")

    empty = torch.empty
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch, "empty", lambda *size, pin_memory=False, **kw: empty(*size, **kw))
    source = PinnedSource(mapped, ROWS, CPU)
    for places in (PLACES, PLACES.flip(0), PLACES[:2], torch.arange(7)):  # the same, fewer and more images
        assert torch.equal(source.gather(places), torch.from_numpy(mapped[ROWS[places.numpy()]]))
    one, other = waits[0], waits[2]
    assert waits == [one, f"copied {one}", other, f"copied {other}"] * 2


def test_cpu_reads_from_the_map(mapped: np.ndarray) -> None:
    assert isinstance(open_source(mapped, ROWS, CPU), MappedSource)


def test_images_in_order_come_once_each(mapped: np.ndarray) -> None:
    rows = np.array([5, 2, 9, 4, 1])
    parts = list(batches_in_order(MappedSource(mapped, rows), 5, 2))
    assert [(part.start, part.stop) for part, _ in parts] == [(0, 2), (2, 4), (4, 5)]
    assert torch.equal(torch.cat([batch for _, batch in parts]), torch.from_numpy(mapped[rows]))
