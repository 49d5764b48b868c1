import random
from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrflow.config.settings import SplitSettings
from cxrflow.data.splitting import check_split, split_index
from cxrflow.errors import CxrflowError
from cxrflow.files.records import SUBSETS
from tests.data.toy import index_row

SEED_0 = SplitSettings()


@st.composite
def datasets(draw, min_per_class=1, max_patients=40, classes="abc"):
    """Draw rows of patients with one to five images of one or several classes, some images equal to others."""
    patients = draw(st.lists(st.text(classes, min_size=1, max_size=5), min_size=min_per_class, max_size=max_patients))
    copies = draw(st.lists(st.integers(0, 30), max_size=8))
    rows = [
        index_row(f"{number:03}-{place}", label, f"p{number}")
        for number, labels in enumerate(patients)
        for place, label in enumerate(labels)
    ]
    for copy in copies:
        if copy + 1 < len(rows):
            rows[copy] = replace(rows[copy], pixel_sha256=rows[-1 - copy].pixel_sha256)
    return rows


def try_split(rows, split_settings=SEED_0):
    try:
        return split_index(rows, split_settings)
    except CxrflowError as error:
        if "too small to split" not in str(error):  # a leak, for example
            raise
        return None


@settings(max_examples=150, deadline=None)
@given(datasets())
def test_patients_and_duplicates_stay_whole_and_every_class_is_everywhere_or_it_says_so(rows):
    split = try_split(rows)
    if split is None:
        return
    assert [row.image_id for row in split] == [row.image_id for row in rows]
    for name in ("patient_id", "pixel_sha256"):
        places = defaultdict(set)
        for row, placed in zip(rows, split, strict=True):
            places[getattr(row, name)].add(placed.subset)
        assert all(len(subsets) == 1 for subsets in places.values())
    assert {(row.label, row.subset) for row in split} == {
        (label, subset) for label in {row.label for row in rows} for subset in SUBSETS
    }


@settings(max_examples=60, deadline=None)
@given(datasets(), st.randoms(use_true_random=False), st.integers(0, 5))
def test_the_order_of_rows_does_not_matter(rows, shuffler, seed):
    split = try_split(rows, SplitSettings(seed=seed))
    shuffled = list(rows)
    shuffler.shuffle(shuffled)
    again = try_split(shuffled, SplitSettings(seed=seed))
    assert (split is None) == (again is None)
    if split and again:
        assert {row.image_id: (row.subset, row.group) for row in split} == {
            row.image_id: (row.subset, row.group) for row in again
        }


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=20, max_size=150), st.integers(0, 3))
def test_shares_of_every_class_are_met_within_the_largest_patient(sizes, seed):
    rows = [
        index_row(f"{label}{number:03}-{place}", label, f"{label}{number}")
        for label in "ab"
        for number, size in enumerate(sizes)
        for place in range(size)
    ]
    split = split_index(rows, SplitSettings(seed=seed))
    counts = Counter((row.label, row.subset) for row in split)
    for label in "ab":
        for subset, share in zip(SUBSETS, (0.70, 0.15, 0.15), strict=True):
            assert abs(counts[label, subset] - share * sum(sizes)) <= max(sizes) + 1


@given(st.integers(3, 60))
def test_three_single_images_are_enough(n):
    rows = [index_row(f"{label}{number:02}", label) for label in "ab" for number in range(n)]
    counts = Counter((row.label, row.subset) for row in split_index(rows, SEED_0))
    for subset, share in zip(SUBSETS, (0.70, 0.15, 0.15), strict=True):
        assert counts["a", subset] == counts["b", subset] >= 1
        assert abs(counts["a", subset] - share * n) <= 1.2


def test_a_large_patient_does_not_overfill_a_small_subset():
    sizes = [40, 30, *[1] * 40]
    rows = [index_row(f"{p:02}-{i:02}", "ab"[(p + i) % 2], f"p{p}") for p, n in enumerate(sizes) for i in range(n)]
    counts = Counter(row.subset for row in split_index(rows, SEED_0))
    assert counts == {"train": 78, "val": 16, "test": 16}


def test_the_same_seed_gives_the_known_split():
    """These assignments must never change: a published result names its seed."""
    rows = [index_row(f"{label}{number:02}", label) for label in "ab" for number in range(8)]
    subsets = "".join(row.subset[1] for row in split_index(rows, SplitSettings(seed=7)))  # r, a, e
    assert subsets == "arrrerrrrrrarrre"
    assert "".join(row.subset[1] for row in split_index(rows, SplitSettings(seed=8))) != subsets


def test_other_shares():
    rows = [index_row(f"{label}{number:03}", label) for label in "ab" for number in range(100)]
    counts = Counter(row.subset for row in split_index(rows, SplitSettings(train=0.5, val=0.2, test=0.3)))
    assert counts == {"train": 100, "val": 40, "test": 60}


@pytest.mark.parametrize("n", [1, 2])
def test_too_small_a_class_is_named_with_its_groups(n):
    rows = [index_row(f"a{i}") for i in range(20)] + [
        index_row(f"b{i}-{j}", "rare", f"b{i}") for i in range(n) for j in range(9)
    ]
    with pytest.raises(CxrflowError, match=rf"class 'rare' is too small to split: its {9 * n} images form {n} group"):
        split_index(rows, SEED_0)


@pytest.mark.parametrize(
    ("patients", "pixels", "remedy"),
    [
        ("one", "", "If it has more patients, correct who is one"),
        ("", "equal", "Its 9 patients have images with equal pixels"),
    ],
)
def test_the_remedy_for_a_small_class_fits_its_cause(patients, pixels, remedy):
    rows = [index_row(f"a{i}") for i in range(20)] + [index_row(f"b{i}", "rare", patients, pixels) for i in range(9)]
    with pytest.raises(CxrflowError, match=rf"{remedy}.*, or leave the class out with datasets\.<name>\.classes"):
        split_index(rows, SEED_0)
    few = [index_row(f"a{i}") for i in range(20)] + [index_row(f"b{i}", "rare") for i in range(2)]
    with pytest.raises(CxrflowError, match=r"Add images, raise index\.max_images_per_class, or leave"):
        split_index(few, SEED_0)


def test_three_groups_of_a_rare_class_inside_patients_of_a_common_one():
    rows = [index_row(f"p{p}-{i}", "a", f"p{p}") for p in range(30) for i in range(1 + p % 4)]
    rows += [index_row(f"p{p}-r", "rare", f"p{p}") for p in (3, 7, 11)]
    split = split_index(rows, SEED_0)
    assert {row.subset for row in split if row.label == "rare"} == set(SUBSETS)


@pytest.mark.parametrize("what", ["patient", "duplicate", "group"])
def test_a_leak_is_found(what):
    rows = [index_row(f"{label}{number}", label) for label in "ab" for number in range(9)]
    split = split_index(rows, SEED_0)
    one = next(i for i, row in enumerate(split) if row.subset == "train")
    two = next(i for i, row in enumerate(split) if row.subset == "test" and row.label == split[one].label)
    if what == "patient":
        rows[one] = replace(rows[one], patient_id=rows[two].patient_id)
    elif what == "duplicate":
        rows[one] = replace(rows[one], pixel_sha256=rows[two].pixel_sha256)
    else:
        split[one] = replace(split[one], group=split[two].group)
    with pytest.raises(CxrflowError, match=f"the split leaks: {what}"):
        check_split(rows, split)


def test_classes_keep_their_shares_where_patients_have_several():
    shuffler = random.Random(0)
    rows = [
        index_row(f"{p:04}-{i}", shuffler.choices("abcd", [60, 25, 10, 5])[0], f"p{p}")
        for p in range(2000)
        for i in range(shuffler.choice([1, 1, 1, 2, 3, 8]))
    ]
    counts = Counter((row.label, row.subset) for row in split_index(rows, SEED_0))
    for label in "abcd":
        n = sum(counts[label, subset] for subset in SUBSETS)
        for subset, share in zip(SUBSETS, (0.70, 0.15, 0.15), strict=True):
            assert counts[label, subset] / n == pytest.approx(share, abs=0.02)


def test_findings_are_stratified_each_and_one_that_a_subset_lacks_is_named():
    found = ["none", "Mass", "Mass|Nodule", "Nodule|Hernia"]
    rows = [
        replace(index_row(f"image{i:03}", "Finding" if i % 4 else "No Finding"), metadata=f"findings={found[i % 4]}")
        for i in range(80)
    ]
    split = split_index(rows, SplitSettings())
    assert [row.findings for row in split] == [row.findings for row in rows]
    counts = Counter((name, row.subset) for row in split for name in row.findings.split("|"))
    assert {name: counts[name, "test"] for name in ("none", "Mass", "Nodule", "Hernia")} == {
        "none": 3, "Mass": 6, "Nodule": 6, "Hernia": 3,
    }  # fmt: skip
    few = [row for row in rows if "Hernia" not in row.findings] + rows[3:8:4]
    with pytest.raises(CxrflowError, match=r"class 'Hernia' is too small to split.*datasets.<name>.findings"):
        split_index(few, SplitSettings())
