"""The split that a dataset's owners publish: kept, checked, and completed."""

from collections import Counter
from dataclasses import replace

import pytest

from cxrflow.config.settings import DatasetSettings, IndexSettings, SplitSettings
from cxrflow.data.indexing import build_index
from cxrflow.data.readers import list_dataset
from cxrflow.data.splitting import describe_split, split_index
from cxrflow.errors import CxrflowError
from tests.data.toy import index_row, make_csv, make_kermany, make_nih, real_data, write_image

PUBLISHED = SplitSettings(source="published")


def published_rows(val=0, per_class=40):
    """Return rows of two classes, a quarter of them published as test and `val` of each class as val."""
    return [
        replace(
            index_row(f"{label}{number:02}", label),
            part="test" if number % 4 == 0 else "val" if number % 4 == 1 and number // 4 < val else "train",
        )
        for label in "ab"
        for number in range(per_class)
    ]


def test_a_whole_published_split_is_kept():
    rows = published_rows(val=3)
    split = split_index(rows, PUBLISHED)
    assert [row.subset for row in split] == [row.part for row in rows]
    assert describe_split(split) == "published"


def test_val_is_cut_from_train_where_none_is_published():
    rows = published_rows()
    split = split_index(rows, PUBLISHED)
    assert [row.subset == "test" for row in split] == [row.part == "test" for row in rows]
    counts = Counter((row.label, row.subset) for row in split)
    assert counts["a", "val"] == counts["b", "val"] == round(30 * 0.15 / 0.85)
    assert describe_split(split) == "published, val cut from train"
    assert Counter((row.subset, row.decided_by) for row in split if row.subset != "train") == {
        ("test", "published"): 20,
        ("val", "seed"): counts["a", "val"] * 2,
    }
    assert split_index(rows, replace(PUBLISHED, seed=1)) != split


def test_a_published_val_that_lacks_a_class_counts_as_train():
    rows = [
        replace(row, part="train") if (row.part, row.label) == ("val", "b") else row for row in published_rows(val=3)
    ]
    split = split_index(rows, PUBLISHED)
    assert [row.subset == "test" for row in split] == [row.part == "test" for row in rows]
    assert describe_split(split) == "published, val cut from train"
    assert {row.label for row in split if row.subset == "val"} == {"a", "b"}


@pytest.mark.parametrize(("part", "other"), [("test", "train"), ("train", "test")])
def test_a_class_that_a_published_part_lacks_is_not_called_too_few_images(part, other):
    rows = [replace(row, part=other) if (row.label, row.part) == ("b", part) else row for row in published_rows(val=3)]
    with pytest.raises(CxrflowError, match=rf"The published split has none of them in .*{part}.*`split.source: seed`"):
        split_index(rows, PUBLISHED)


def test_by_seed_the_parts_do_not_count():
    rows = published_rows(val=3)
    split = split_index(rows, SplitSettings())
    assert split == split_index([replace(row, part="") for row in rows], SplitSettings())
    assert describe_split(split) == "by seed"


@pytest.mark.parametrize("what", ["patient_id", "pixel_sha256"])
def test_a_published_split_that_leaks_is_refused_by_name(what):
    rows = published_rows()
    rows[4] = replace(rows[4], **{what: getattr(rows[5], what)})
    with pytest.raises(
        CxrflowError, match=r"leaks: 1 patients .* a04\.png in test and a05\.png in train.*`skip`, or write"
    ):
        split_index(rows, PUBLISHED)


def test_parts_that_are_missing_are_named():
    rows = published_rows()
    with pytest.raises(CxrflowError, match=r"20 of 80 images are in no part .* such as a00\.png"):
        split_index([replace(row, part="") if row.part == "test" else row for row in rows], PUBLISHED)
    with pytest.raises(CxrflowError, match=r"needs train and test, and there is only train \(60 images\)"):
        split_index([row for row in rows if row.part == "train"], PUBLISHED)


def test_the_readers_find_the_parts(tmp_path):
    kermany, nih, csv = (tmp_path / name for name in ("kermany", "nih", "csv"))
    parts = Counter(each.part for each in list_dataset(kermany, make_kermany(kermany)).candidates)
    assert parts == {"train": 8, "test": 2, "val": 1}
    settings = make_nih(nih)
    (nih / "train_val_list.txt").write_text("00000001_001.png\r\n00000002_001.png \n\n00000003_001.png\n")
    note = "train_val_list.txt is not used without the other list of the published split"
    assert note in list_dataset(nih, settings).notes
    (nih / "test_list.txt").write_text("00000004_000.png\n00000005_000.png")
    assert {each.image_id[-5:]: each.part for each in list_dataset(nih, settings).candidates} == {
        "1_001": "train",
        "2_001": "train",
        "3_001": "train",
        "4_000": "test",
        "5_000": "test",
    }
    (nih / "test_list.txt").write_text("00000003_001.png\n")
    with pytest.raises(CxrflowError, match=r"00000003_001\.png is in train_val_list\.txt and in test_list\.txt"):
        list_dataset(nih, settings)
    settings = replace(make_csv(csv), split_column="fold")
    table = (csv / "labels.csv").read_text().splitlines()
    for number, cell in enumerate(["fold", "Train", "TEST", "validation", "train", "test"]):
        table[number] += f",{cell}"
    (csv / "labels.csv").write_text("\n".join(table))
    assert [each.part for each in list_dataset(csv, settings).candidates] == ["train", "test", "val"]
    (csv / "labels.csv").write_text("\n".join(table).replace("TEST", "third"))
    with pytest.raises(CxrflowError, match="line 3: 'third' in the column fold is none of train, val and test"):
        list_dataset(csv, settings)


def test_from_folders_to_the_split(tmp_path):
    number = 0
    for part, n in (("train", 12), ("test", 4)):
        for label in ("ill", "well"):
            for _ in range(n):
                number += 1
                write_image(tmp_path / part / label / f"{number}.png", number)
    settings = DatasetSettings(reader="folders", folder="data", classes={"ill": "ill", "well": "well"})
    rows = build_index(tmp_path, settings, IndexSettings(), threads=1).rows
    split = split_index(rows, PUBLISHED)
    assert [row.subset == "test" for row in split] == [row.path.startswith("test/") for row in rows]


@pytest.mark.slow
def test_the_published_split_of_the_real_set_keeps_patients_whole():
    settings = DatasetSettings(reader="kermany", folder="pneumonia")
    parts: dict[str, set[str]] = {}
    for each in list_dataset(real_data("pneumonia"), settings).candidates:
        parts.setdefault(each.patient_id, set()).add(each.part)
    assert {len(found) for found in parts.values()} == {1}
