"""What copies mean for the splits: groups across datasets, whose images they are, what is left out."""

from collections import Counter
from dataclasses import replace

import pytest

from cxrflow.config.settings import SplitSettings
from cxrflow.data.grouping import group_images
from cxrflow.data.overlap import DatasetSplit, list_seen
from cxrflow.data.splitting import split_index
from cxrflow.files.records import CopyRow, IndexRow


def image(name, patient="", label="a"):
    return IndexRow(name, name, label, patient or name, "", 8, 8, "L", f"f {name}", f"p {name}")


def pair(one, two, kind="copy"):
    return CopyRow(*one.split("/"), *two.split("/"), kind, "whole", 2, 0.99)


# Two children have two images each in `old`; `new` took one of each, and names no patient.
OLD = [image(f"o{n}", f"child{n // 2}", "ab"[n % 2]) for n in range(80)]
NEW = [image(f"n{n}", label="ab"[n % 2]) for n in range(60)]
COPIES = [pair(f"new/n{n}", f"old/o{2 * n}") for n in range(40)]


def test_a_group_lies_in_one_subset_of_every_dataset_and_has_its_patients_name():
    grouped = group_images({"new": NEW, "old": OLD}, COPIES, SplitSettings())
    assert len(grouped) == 40 + 80, "the sibling that nobody took belongs to the group as well"
    assert {row.patient_id for row in grouped if row.image_id in ("n0", "o0", "o1")} == {"old/child0", "child0"}
    splits = {
        name: split_index(rows, SplitSettings(), [row for row in grouped if row.dataset == name])
        for name, rows in (("new", NEW), ("old", OLD))
    }
    where = {name: {row.image_id: row.subset for row in split} for name, split in splits.items()}
    for n in range(40):
        assert where["new"][f"n{n}"] == where["old"][f"o{2 * n}"] == where["old"][f"o{2 * n + 1}"]
    for split in splits.values():  # shares are kept, also where nearly all groups are shared
        counts = Counter((row.label, row.subset) for row in split)
        assert all(counts[label, "test"] == pytest.approx(0.15 * len(split) / 2, abs=1.5) for label in "ab")
    assert {row.patient_id for row in splits["new"] if row.image_id == "n0"} == {"old/child0"}


def test_the_splits_of_before_would_have_leaked_and_the_leak_is_counted():
    datasets = {"new": NEW, "old": OLD}
    grouped = group_images(datasets, COPIES, SplitSettings())
    groups = {name: {row.image_id: row.group for row in grouped if row.dataset == name} for name in datasets}

    def count_seen(by_name):
        parts = {}
        for name, rows in datasets.items():
            test = {row.image_id for row in split_index(rows, SplitSettings(), by_name[name]) if row.subset == "test"}
            parts[name] = DatasetSplit(
                [r for r in rows if r.image_id not in test], [r for r in rows if r.image_id in test], groups[name]
            )
        return len(list_seen(parts["old"], parts["new"]))

    assert count_seen({"new": [], "old": []}) > 0
    assert count_seen({name: [row for row in grouped if row.dataset == name] for name in datasets}) == 0


def test_another_dataset_without_copies_changes_nothing():
    two = group_images({"new": NEW, "old": OLD}, COPIES, SplitSettings())
    other = [image(f"x{n}", f"child{n}") for n in range(40)]  # its children are not those of `old`
    assert group_images({"new": NEW, "other": other, "old": OLD}, COPIES, SplitSettings()) == two


def test_copies_with_two_labels_in_one_dataset_are_left_out_and_named():
    rows = [image("x", label="a"), image("y", label="b"), image("z", label="b"), *NEW]
    grouped = group_images({"new": rows}, [pair("new/x", "new/y"), pair("new/y", "new/z")], SplitSettings())
    assert {row.image_id: row.left_out for row in grouped} == {
        "x": "a copy of it, y, has another label: b",
        "y": "a copy of it, x, has another label: a",
        "z": "",
    }
    split = split_index(rows, SplitSettings(), grouped)
    assert {row.image_id for row in split} == {row.image_id for row in rows} - {"x", "y"}
    assert {row.subset for row in grouped} == {""}, "the group spans one dataset: its split decides"


def test_across_datasets_labels_may_differ_and_look_alikes_join_nothing():
    differing = [replace(NEW[0], label="another word"), *NEW[1:]]
    grouped = group_images({"new": differing, "old": OLD}, COPIES[:1], SplitSettings())
    assert not any(row.left_out for row in grouped)
    assert group_images({"new": NEW, "old": OLD}, [pair("new/n0", "old/o0", "look-alike")], SplitSettings()) == []


def test_the_next_image_of_a_named_patient_may_look_the_same_and_have_another_label():
    rows = [image("x", "anna", "a"), image("y", "anna", "b"), image("z", "bert", "b"), *NEW]
    grouped = group_images({"d": rows}, [pair("d/x", "d/y")], SplitSettings())
    assert [(row.image_id, row.left_out) for row in grouped] == [("x", ""), ("y", "")]
    grouped = group_images({"d": rows}, [pair("d/x", "d/z")], SplitSettings())
    assert all(row.left_out for row in grouped if row.image_id in "xz")
