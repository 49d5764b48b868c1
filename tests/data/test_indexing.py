import os
import random
from collections import Counter
from dataclasses import replace

import pytest

from cxrflow.config.settings import IndexSettings
from cxrflow.data import reading
from cxrflow.data.indexing import CAPPED, CONFLICT, build_index, summarize_index
from cxrflow.errors import CxrflowError
from tests.data.toy import make_covid, make_csv, make_folders, make_nih, real_data, write_image

LAX = IndexSettings(max_rejected_share=0.9)


def test_rows_carry_what_was_read(tmp_path):
    index = build_index(tmp_path, make_folders(tmp_path), IndexSettings(), threads=2)
    first = index.rows[0]
    assert (first.image_id, first.path, first.label) == ("healthy/p0_0.png", "healthy/p0_0.png", "healthy")
    assert (first.width, first.height, first.mode) == (24, 24, "L")
    assert first.sha256 == reading.sha256_bytes((tmp_path / first.path).read_bytes())
    assert [row.image_id for row in index.rows] == sorted(row.image_id for row in index.rows)


def test_masks_are_signed_and_boxes_need_no_signature(tmp_path):
    index = build_index(tmp_path, make_covid(tmp_path), LAX, threads=2)
    assert len(index.regions) == 4
    for region in index.regions:
        assert region.mask_sha256 == reading.sha256_bytes((tmp_path / region.mask_path).read_bytes())
    boxed = build_index(tmp_path / "nih", make_nih(tmp_path / "nih"), LAX, threads=2)
    assert {region.mask_sha256 for region in boxed.regions} == {""}


def test_neither_threads_nor_the_order_of_files_change_the_index(tmp_path, monkeypatch):
    settings = make_folders(tmp_path, per_class=8)
    capped = IndexSettings(max_images_per_class=5)
    expected = [build_index(tmp_path, settings, each, threads=1) for each in (IndexSettings(), capped)]
    walk = os.walk

    def shuffled_walk(*arguments, **options):
        for place, folders, names in walk(*arguments, **options):
            random.Random(5).shuffle(names)
            yield place, folders, names

    monkeypatch.setattr(os, "walk", shuffled_walk)
    assert [build_index(tmp_path, settings, each, threads=4) for each in (IndexSettings(), capped)] == expected


def test_too_many_bad_files_stop_with_examples(tmp_path):
    settings = make_folders(tmp_path)
    (tmp_path / "ill/empty.png").touch()
    with pytest.raises(CxrflowError, match=r"ill/empty\.png: the file is empty.*raise index\.max_rejected_share"):
        build_index(tmp_path, settings, IndexSettings(), threads=2)


def test_the_share_is_of_what_was_read_under_a_cap(tmp_path):
    settings = make_folders(tmp_path, per_class=40)
    capped = IndexSettings(max_images_per_class=4, max_rejected_share=0.1)
    for row in build_index(tmp_path, settings, capped, threads=2).rows[:3]:
        (tmp_path / row.path).write_bytes(b"")
    with pytest.raises(CxrflowError, match=r"3 of the first 11 images are unreadable"):
        build_index(tmp_path, settings, capped, threads=2)


def test_equal_pixels_with_other_labels_are_all_refused(tmp_path):
    settings = make_folders(tmp_path)
    write_image(tmp_path / "healthy/twin.png", 70)
    write_image(tmp_path / "ill/twin.bmp", 70)
    write_image(tmp_path / "ill/twin2.png", 70)
    write_image(tmp_path / "ill/same1.png", 71)
    write_image(tmp_path / "ill/same2.png", 71)
    index = build_index(tmp_path, settings, IndexSettings(), threads=2)
    assert {row.path: row.reason for row in index.rejects} == dict.fromkeys(
        ["healthy/twin.png", "ill/twin.bmp", "ill/twin2.png"], CONFLICT
    )
    assert summarize_index(index, "data", settings)["n_duplicate_groups"] == 1


def test_a_class_of_which_nothing_is_left(tmp_path):
    settings = make_folders(tmp_path, per_class=1)
    (tmp_path / "ill/p0_0.png").write_bytes((tmp_path / "healthy/p0_0.png").read_bytes())
    with pytest.raises(CxrflowError, match=r"no image of class healthy is left\. conflict: its pixels equal"):
        build_index(tmp_path, settings, IndexSettings(), threads=1)


def test_every_class_keeps_its_cap_or_all_it_has_whoever_the_patients_are(tmp_path):
    settings = replace(make_folders(tmp_path, per_class=12), patient_pattern=r"/(?P<patient>p\d+)")
    for number in range(12, 15):
        write_image(tmp_path / f"ill/p{number}_0.png", number)
    write_image(tmp_path / "ill/p98_0.png", 70)
    write_image(tmp_path / "healthy/p99_0.png", 70)
    for cap in (1, 7, 14, 100):
        index = build_index(tmp_path, settings, IndexSettings(max_images_per_class=cap), threads=1)
        assert Counter(row.label for row in index.rows) == {"healthy": min(cap, 12), "ill": min(cap, 15)}


def test_the_cap_reads_only_what_it_may_keep_and_fills_places_of_bad_files(tmp_path, monkeypatch):
    settings = make_folders(tmp_path, per_class=40)
    first = build_index(tmp_path, settings, IndexSettings(max_images_per_class=6), threads=2)
    assert Counter(row.label for row in first.rows) == {"healthy": 6, "ill": 6}
    assert Counter(row.reason for row in first.rejects) == {CAPPED: 68}
    for row in first.rows[:3]:
        (tmp_path / row.path).write_bytes(b"")
    read = []
    monkeypatch.setattr(
        "cxrflow.data.indexing.read_facts", lambda path, mpx: read.append(path) or reading.read_facts(path, mpx)
    )
    second = build_index(tmp_path, settings, replace(LAX, max_images_per_class=6), threads=2)
    assert Counter(row.label for row in second.rows) == {"healthy": 6, "ill": 6}
    assert {row.image_id for row in first.rows[3:]} < {row.image_id for row in second.rows}
    assert len(read) == 15


def test_boxes_follow_the_files_real_size(tmp_path):
    index = build_index(tmp_path, make_nih(tmp_path, size=64), IndexSettings(), threads=1)
    (region,) = index.regions
    assert (region.x_px, region.y_px, region.width_px, region.height_px) == (32.0, 16.0, 8.0, 4.0)


def test_regions_of_refused_images_are_dropped(tmp_path):
    settings = make_covid(tmp_path, per_class=20)
    (tmp_path / "COVID-19_Radiography_Dataset/COVID/images/COVID-1.png").write_bytes(b"")
    index = build_index(tmp_path, settings, IndexSettings(), threads=1)
    assert len(index.regions) == 19
    assert [row.image_id for row in index.regions] == [row.image_id for row in index.rows if row.label == "COVID"]


def test_the_summary(tmp_path):
    settings = make_csv(tmp_path)
    index = build_index(tmp_path, settings, IndexSettings(), threads=1)
    assert summarize_index(index, "mine", settings) == {
        "dataset": "mine",
        "reader": "csv",
        "class_names": ["normal", "pneumonia"],
        "counts": {"normal": 1, "pneumonia": 2},
        "n_patients": 2,
        "rejects": {
            "missing": {"the table lists it, and there is no such file": 1},
            "selection": {"its label '2' is not a class of the study": 1},
        },
        "listed_missing": 1,
        "notes": ["the first listed image without a file is 'films/gone.png' in line 5"],
        "n_duplicate_groups": 0,
    }


@pytest.mark.slow
def test_real_rgba_files_are_kept(tmp_path):
    index = build_index(real_data("xray8"), make_nih(tmp_path), IndexSettings(max_images_per_class=12), threads=2)
    assert {row.mode for row in index.rows} <= {"L", "RGBA"}
    assert all((row.width, row.height) == (1024, 1024) for row in index.rows)
