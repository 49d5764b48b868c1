import csv
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from cxrflow.config.settings import PhantomSettings
from phantoms.kaggle import plan_covid, plan_pneumonia
from phantoms.render import Fate
from phantoms.xray8 import class_of, plan_xray8
from tests.phantoms.conftest import COUNT, Phantoms, read_image

REAL = Path(__file__).resolve().parents[2].parent / "shared/data/raw/xray8"
SIX = {"Infiltration", "Effusion", "Atelectasis", "Nodule", "Pneumothorax", "Mass"}
ENTRY_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"


def entries(phantoms: Phantoms) -> list[dict[str, str]]:
    with (phantoms.folder / "xray8" / "Data_Entry_2017.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


def boxes(phantoms: Phantoms) -> list[tuple[str, str, list[float]]]:
    with (phantoms.folder / "xray8" / "BBox_List_2017.csv").open(newline="") as handle:
        rows = list(csv.reader(handle))[1:]
    return [(name, label, [float(value) for value in box]) for name, label, *box in rows]


def files(phantoms: Phantoms) -> dict[str, Path]:
    return {path.name: path for path in (phantoms.folder / "xray8").glob("images_00?/images/*.png")}


def select(rows: list[dict[str, str]]) -> dict[str, str]:
    """Return {file name: class} by the study's rule, written down a second time and from the table alone."""
    chosen, healthy = {}, defaultdict(list)
    for row in rows:
        labels = set(row["Finding Labels"].split("|"))
        if len(labels & SIX) == 1:
            chosen[row["Image Index"]] = (labels & SIX).pop()
        elif labels == {"No Finding"}:
            healthy[row["Patient ID"]].append((int(row["Follow-up #"]), row["Image Index"]))
    return chosen | {min(images)[1]: "No Finding" for images in healthy.values()}


def test_the_tables_have_the_published_headers(phantoms: Phantoms) -> None:
    for name, header in (("Data_Entry_2017.csv", ENTRY_HEADER), ("BBox_List_2017.csv", BOX_HEADER)):
        assert (phantoms.folder / "xray8" / name).read_text().splitlines()[0] == header


@pytest.mark.skipif(not REAL.is_dir(), reason="the published tables are not here")
def test_the_headers_are_those_of_the_published_tables() -> None:
    for name, header in (("Data_Entry_2017.csv", ENTRY_HEADER), ("BBox_List_2017.csv", BOX_HEADER)):
        with (REAL / name).open() as handle:
            assert handle.readline().rstrip("\r\n") == header


def test_the_rule_keeps_the_asked_number_of_whole_images_of_each_class(phantoms: Phantoms) -> None:
    there = files(phantoms)
    unreadable = {
        Path(d["path"]).name for d in phantoms.manifest["defects"] if d["kind"] in ("empty_file", "html_page")
    }
    chosen = {
        name: label for name, label in select(entries(phantoms)).items() if name in there and name not in unreadable
    }
    assert Counter(chosen.values()) == dict.fromkeys([*SIX, "No Finding"], COUNT)


def test_the_table_holds_what_the_rule_must_drop_and_what_it_must_not(phantoms: Phantoms) -> None:
    rows = entries(phantoms)
    chosen = select(rows)
    names = {row["Image Index"]: set(row["Finding Labels"].split("|")) for row in rows}
    assert sum(len(labels & SIX) == 2 for labels in names.values()) >= 4
    assert sum(labels == {"No Finding"} and name not in chosen for name, labels in names.items()) >= 2
    assert any(labels & SIX and labels - SIX for name, labels in names.items() if name in chosen)
    assert any(not labels & SIX and "No Finding" not in labels for labels in names.values())


def test_names_follow_patient_and_follow_up_and_every_file_is_listed(phantoms: Phantoms) -> None:
    rows = entries(phantoms)
    for row in rows:
        assert row["Image Index"] == f"{int(row['Patient ID']):08d}_{int(row['Follow-up #']):03d}.png"
    listed = [row["Image Index"] for row in rows]
    assert listed == sorted(set(listed))
    assert set(files(phantoms)) <= set(listed)


def test_absent_files_are_those_of_the_last_patients_as_a_partial_download_leaves_them(phantoms: Phantoms) -> None:
    rows = entries(phantoms)
    there = [row["Image Index"] in files(phantoms) for row in rows]
    assert there == sorted(there, reverse=True)
    assert 5 <= there.count(False) < 0.2 * len(there)


def test_images_lie_in_two_archives_and_are_square(phantoms: Phantoms) -> None:
    assert {path.parents[1].name for path in files(phantoms).values()} == {"images_001", "images_002"}
    whole = [path for path in files(phantoms).values() if path.stat().st_size > 200]
    assert {read_image(path).size for path in whole} == {(128, 128)}


def test_boxes_are_those_of_the_masks_in_the_published_frame(phantoms: Phantoms) -> None:
    labels = {row["Image Index"]: row["Finding Labels"].split("|") for row in entries(phantoms)}
    by_image = defaultdict(list)
    for name, label, box in boxes(phantoms):
        assert (label if label != "Infiltrate" else "Infiltration") in labels[name]
        assert 0 <= min(box) <= max(box[0] + box[2], box[1] + box[3]) <= 1024
        if label != "Cardiomegaly":
            by_image[name].append(box)
    assert len(by_image) > 0.3 * 6 * COUNT
    assert {label for _, label, _ in boxes(phantoms)} >= {*SIX - {"Infiltration"}, "Infiltrate"}
    for name, found in by_image.items():
        mask = np.asarray(read_image(phantoms.folder / "xray8" / "lesion_masks" / name)) > 0
        covered = np.zeros_like(mask)
        for x, y, width, height in found:
            left, top, right, bottom = (round(value * 128 / 1024) for value in (x, y, x + width, y + height))
            inside = mask[top:bottom, left:right]
            assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
            covered[top:bottom, left:right] = True
        assert (mask & covered).sum() > 0.6 * mask.sum()


def test_every_image_with_a_sign_has_its_mask_and_no_other_has(phantoms: Phantoms) -> None:
    masks = {path.name for path in (phantoms.folder / "xray8" / "lesion_masks").iterdir()}
    whole = {name for name, path in files(phantoms).items() if path.stat().st_size > 200}
    signs = {row["Image Index"] for row in entries(phantoms) if set(row["Finding Labels"].split("|")) & SIX}
    assert masks == signs & whole


@pytest.mark.parametrize("count", [12, 20, 61])
def test_the_plan_keeps_its_counts_and_its_paths_are_unique_at_any_number(count: int) -> None:
    tasks = plan_xray8(PhantomSettings(images_per_class=count, seed=count)).tasks
    kept = Counter(class_of(task.label) for task in tasks if task.fate == Fate.KEPT)
    assert kept == dict.fromkeys([*SIX, "No Finding"], count)
    assert len({task.path for task in tasks}) == len(tasks)


def test_patients_have_images_of_several_classes() -> None:
    tasks = plan_xray8(PhantomSettings(images_per_class=60)).tasks
    labels = defaultdict(set)
    for task in tasks:
        labels[task.path.split("/")[-1][:8]].add(task.label)
    assert sum(len(names) > 1 for names in labels.values()) > 0.2 * len(labels)


def test_its_classes_can_be_smaller_than_those_of_the_others() -> None:
    settings = PhantomSettings(images_per_class=30, images_per_class_of={"xray8": 12})
    kept = Counter(class_of(task.label) for task in plan_xray8(settings).tasks if task.fate == Fate.KEPT)
    assert set(kept.values()) <= {12, 13}, "one class holds a copy on top"
    assert plan_xray8(settings).tasks == plan_xray8(PhantomSettings(images_per_class=12)).tasks
    assert plan_covid(settings).tasks == plan_covid(PhantomSettings(images_per_class=30)).tasks
    assert plan_pneumonia(settings).tasks == plan_pneumonia(PhantomSettings(images_per_class=30)).tasks


def test_the_two_lists_have_every_image_once_and_whole_patients_with_their_copies(phantoms: Phantoms) -> None:
    folder = phantoms.folder / "xray8"
    lists = [(folder / name).read_text().split() for name in ("train_val_list.txt", "test_list.txt")]
    assert sorted(lists[0] + lists[1]) == sorted(row["Image Index"] for row in entries(phantoms))
    digests = {name: path.read_bytes() for name, path in files(phantoms).items()}
    for of in (lambda name: name.split("_")[0], lambda name: digests.get(name) or name):
        assert not {*map(of, lists[0])} & {*map(of, lists[1])}
    assert 0.1 < len(lists[1]) / len(lists[0] + lists[1]) < 0.4
