"""Packed images with their subsets, and batches of them."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cxrflow.errors import CxrflowError
from cxrflow.files.openings import OPENINGS, read_openings
from cxrflow.files.records import SplitRow
from cxrflow.files.tables import write_records
from cxrflow.models.batches import (
    ImageSource,
    ResidentSource,
    SplitImages,
    batches_in_order,
    cut_batches,
    epoch_order,
    join_split,
    open_source,
    open_split_images,
    open_test_rows,
    take_share,
)
from tests.models.toy import CPU, toy_images, toy_labels, toy_rows, write_packed
from tests.packed import save_images

LABELS = toy_labels(12)
SPLIT = toy_rows(LABELS, n_train=8, n_val=4)


def test_rows_labels_and_names_belong_together() -> None:
    shuffled = [SPLIT[i] for i in (3, 0, 9, 1, 8, 4, 2, 11, 5, 6, 10, 7)]
    data = join_split(toy_images(LABELS), shuffled)
    assert data.class_names == ["dark", "light"]
    assert list(data.rows) == ["train", "val"]
    for subset, rows in data.rows.items():
        assert [shuffled[i].subset for i in rows] == [subset] * len(rows)
        assert list(rows) == sorted(rows)
        assert [data.class_names[label] for label in data.labels_of(subset)] == [shuffled[i].label for i in rows]
    assert data.image_ids == [row.image_id for row in shuffled]
    assert data.counts("train") == {"dark": 5, "light": 3}


@pytest.mark.parametrize(
    ("last", "message"),
    [
        ([], "images has 12 images and the split has 11 rows"),
        (
            [dataclasses.replace(SPLIT[-1], subset="test")],
            "image11 is in subset 'test', and only train and val may be here",
        ),
    ],
)
def test_a_split_that_does_not_fit_stops(last: list[SplitRow], message: str) -> None:
    with pytest.raises(CxrflowError, match=message):
        join_split(toy_images(LABELS), [*SPLIT[:-1], *last])


def test_images_of_another_recipe_stop(tmp_path: Path) -> None:
    save_images(tmp_path / "images.npy", toy_images(LABELS, size_px=16), SPLIT)
    write_records(tmp_path / "split.csv", SplitRow, SPLIT)
    assert open_split_images(tmp_path / "images.npy", tmp_path / "split.csv", 16).images.shape == (12, 16, 16)
    with pytest.raises(CxrflowError, match="holds images of 16x16 px, and the preprocess settings say 24x24 px"):
        open_split_images(tmp_path / "images.npy", tmp_path / "split.csv", 24)


def test_each_door_opens_its_own_rows_only(tmp_path: Path) -> None:
    write_packed(tmp_path, toy_images(LABELS, 16), toy_rows(LABELS, n_train=6, n_val=3))
    learned = (tmp_path / "images.npy", tmp_path / "split.csv", 16)
    tested = (tmp_path / "test/images.npy", tmp_path / "test.csv", 16)
    assert list(open_split_images(*learned).rows) == ["train", "val"]
    data = open_test_rows(*tested, opener="me", opener_sha256="0" * 64)
    assert [opening.opener for opening in read_openings(tmp_path / OPENINGS)] == ["me"]
    assert data.rows["test"].tolist() == [0, 1, 2]
    assert data.labels_of("test").tolist() == LABELS[9:].tolist()
    with pytest.raises(CxrflowError, match="image9 is in subset 'test', and only train and val may be here"):
        open_split_images(*tested)
    with pytest.raises(CxrflowError, match="image0 is in subset 'train', and only test may be here"):
        open_test_rows(*learned, opener="me", opener_sha256="0" * 64)


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
    source = (ImageSource if source_class == "mapped" else ResidentSource)(mapped, ROWS, CPU)
    assert torch.equal(source.gather(PLACES), torch.from_numpy(mapped[ROWS[PLACES.numpy()]]))


@needs_gpu
def test_sources_on_a_gpu_give_the_rows_asked_for(mapped: np.ndarray) -> None:
    gpu = torch.device("cuda")
    sources = ResidentSource(mapped, ROWS, gpu), ImageSource(mapped, ROWS, gpu)
    for places in torch.randint(0, len(ROWS), (50, 32)):
        batches = [source.gather(places) for source in sources]
        assert torch.equal(batches[0].cpu(), torch.from_numpy(mapped[ROWS[places.numpy()]]))
        assert torch.equal(*batches)


def test_cpu_reads_from_the_map(mapped: np.ndarray) -> None:
    assert type(open_source(mapped, ROWS, CPU)) is ImageSource


def test_a_stretch_of_images_comes_in_order(mapped: np.ndarray) -> None:
    rows = np.array([5, 2, 9, 4, 1, 7])
    batches = list(batches_in_order(ImageSource(mapped, rows, CPU), slice(1, 6), 2))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert torch.equal(torch.cat(batches), torch.from_numpy(mapped[rows[1:]]))


def patients_data(reverse: bool = False) -> SplitImages:
    """300 train and 20 val images of 120 patients with 1 to 4 images each, some of two classes; one class is rare."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(130):
        subset = "train" if number < 120 else "val"
        for image in range(rng.integers(1, 5)):
            label = "rare" if number % 10 == 0 and image == 0 else ("a", "b")[number % 2]
            rows.append(SplitRow(f"{number}/{image}", label, f"p{number}", f"p{number}", subset))
    rows = rows[::-1] if reverse else rows
    return join_split(np.zeros((len(rows), 4, 4), np.uint8), rows)


def train_ids(data: SplitImages) -> set[str]:
    return {data.image_ids[row] for row in data.rows["train"]}


def test_shares_of_the_train_subset_are_nested_whole_patients_of_every_class() -> None:
    data = patients_data()
    shares = {share: take_share(data, share) for share in (0.1, 0.25, 0.5, 1.0)}
    for smaller, larger in itertools.pairwise(shares.values()):
        assert train_ids(smaller) < train_ids(larger)
    assert train_ids(shares[1.0]) == train_ids(data)
    whole = data.counts("train")
    for share, part in shares.items():
        patients = {image_id.split("/")[0] for image_id in train_ids(part)}
        assert train_ids(part) == {name for name in train_ids(data) if name.split("/")[0] in patients}
        for name, count in part.counts("train").items():
            assert count == pytest.approx(share * whole[name], abs=4), (share, name)
        assert part.rows["val"].tolist() == data.rows["val"].tolist()


def test_a_share_does_not_depend_on_the_order_of_images() -> None:
    one, other = take_share(patients_data(), 0.3), take_share(patients_data(reverse=True), 0.3)
    assert train_ids(one) == train_ids(other)
    assert train_ids(one) != train_ids(take_share(patients_data(), 0.4))


def test_the_smallest_share_has_a_patient_of_every_kind() -> None:
    assert min(take_share(patients_data(), 0.01).counts("train").values()) >= 1
