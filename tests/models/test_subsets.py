import dataclasses
from pathlib import Path

import numpy as np
import pytest

from cxrflow.errors import CxrflowError
from cxrflow.files.records import SplitRow
from cxrflow.files.tables import write_records
from cxrflow.models.subsets import CLOSED, join_split, open_split_images, open_test_rows
from tests.models.toy import toy_images, toy_labels, toy_rows

LABELS = toy_labels(12)
ROWS = toy_rows(LABELS, n_train=6, n_val=3)


def test_rows_labels_and_names_belong_together() -> None:
    shuffled = [ROWS[i] for i in (3, 0, 9, 1, 8, 4, 2, 11, 5, 6, 10, 7)]
    data = join_split(toy_images(LABELS), shuffled)
    assert data.class_names == ["dark", "light"]
    assert list(data.rows) == ["train", "val"]
    for subset, rows in data.rows.items():
        assert [shuffled[i].subset for i in rows] == [subset] * len(rows)
        assert list(rows) == sorted(rows)
        assert [data.class_names[label] for label in data.labels_of(subset)] == [shuffled[i].label for i in rows]
    assert data.image_ids == [row.image_id for row in shuffled]
    assert data.counts("train") == {"dark": 4, "light": 2}


def test_split_of_another_length_stops() -> None:
    with pytest.raises(CxrflowError, match="images has 12 images and the split has 11 rows"):
        join_split(toy_images(LABELS), ROWS[:-1])


def test_unknown_subset_stops() -> None:
    rows = [*ROWS[:-1], dataclasses.replace(ROWS[-1], subset="Test")]
    with pytest.raises(CxrflowError, match="image11 is in subset 'Test'; known: train, val, test"):
        join_split(toy_images(LABELS), rows)


def test_images_of_another_recipe_stop(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", toy_images(LABELS, size_px=16))
    write_records(tmp_path / "split.csv", SplitRow, ROWS)
    assert open_split_images(tmp_path / "images.npy", tmp_path / "split.csv", 16).images.shape == (12, 16, 16)
    with pytest.raises(CxrflowError, match="holds images of 16x16 px, and the preprocess settings say 24x24 px"):
        open_split_images(tmp_path / "images.npy", tmp_path / "split.csv", 24)


def test_test_rows_are_closed_until_they_are_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", toy_images(LABELS, size_px=16))
    write_records(tmp_path / "split.csv", SplitRow, ROWS)
    files = (tmp_path / "images.npy", tmp_path / "split.csv", 16)
    learned, tested = open_split_images(*files), open_test_rows(*files)
    assert list(tested.rows) == ["test"]
    assert tested.rows["test"].tolist() == [9, 10, 11]
    assert tested.labels_of("test").tolist() == LABELS[9:].tolist()
    assert (learned.labels[9:] == CLOSED).all()
    assert (tested.labels[:9] == CLOSED).all()
    assert learned.class_names == tested.class_names
