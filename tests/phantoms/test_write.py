import dataclasses
import hashlib
import runpy
import shutil
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml

from cxrflow.config.parsing import parse_settings
from cxrflow.config.readers import PHANTOM_READERS, READERS
from cxrflow.config.settings import PhantomSettings
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import read_json, write_json
from phantoms.render import Fate
from phantoms.write import LAYOUTS, MARKER, claim_folder, hash_files, write_phantoms
from tests.phantoms.conftest import Phantoms, read_image

ROOT = Path(__file__).resolve().parents[2]


def file_digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (MARKER, "manifest.json")
    }


def test_the_manifests_hash_is_of_every_file_that_lies_there(phantoms: Phantoms) -> None:
    digests = file_digests(phantoms.folder)
    assert phantoms.manifest["sha256"] == hash_files(digests)
    assert phantoms.manifest["n_files"] == len(digests)
    assert phantoms.manifest["settings"] == dataclasses.asdict(phantoms.settings)


def test_a_second_run_removes_the_first_keeps_a_stranger_and_gives_the_same_bytes(
    phantoms: Phantoms, tmp_path: Path
) -> None:
    folder = tmp_path / "again"
    shutil.copytree(phantoms.folder, folder)
    own = folder / "xray8" / "notes.txt"
    own.write_text("mine")
    damaged = next((folder / "covid").rglob("COVID-1.png"))
    damaged.write_bytes(b"")
    content = write_phantoms(folder, phantoms.settings, folder / "manifest.json", processes=2)
    assert content["sha256"] == phantoms.manifest["sha256"]  # written by two processes, and by one before
    assert own.read_text() == "mine"


def test_defects_are_what_the_manifest_says(phantoms: Phantoms) -> None:
    kinds = [defect["kind"] for defect in phantoms.manifest["defects"]]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "RGBA": 3, "16_bit": 1, "12_bit_in_16": 1, "truncated_jpeg": 1, "empty_file": 1, "html_page": 1, "copy": 4
    }  # fmt: skip
    paths = {
        kind: phantoms.folder / defect["path"] for defect in phantoms.manifest["defects"] for kind in [defect["kind"]]
    }
    assert read_image(paths["RGBA"]).getextrema()[3] == (255, 255)
    assert (
        2048
        < np.asarray(read_image(paths["12_bit_in_16"])).max()
        < 4096
        <= np.asarray(read_image(paths["16_bit"])).max()
    )
    with pytest.raises(OSError, match="truncated"):
        read_image(paths["truncated_jpeg"])
    assert paths["empty_file"].read_bytes() == b""
    assert paths["html_page"].read_bytes().startswith(b"<!DOCTYPE")


def test_few_files_are_unreadable_and_all_of_them_are_listed(phantoms: Phantoms) -> None:
    images = [
        p
        for p in phantoms.folder.rglob("*")
        if p.suffix in (".png", ".jpeg") and "masks" not in p.parts and p.parent.name != "lesion_masks"
    ]
    unreadable = set()
    for path in images:
        try:
            read_image(path)
        except OSError:
            unreadable.add(path.relative_to(phantoms.folder).as_posix())
    broken = ("truncated_jpeg", "empty_file", "html_page")
    assert unreadable == {defect["path"] for defect in phantoms.manifest["defects"] if defect["kind"] in broken}
    assert len(unreadable) < 0.02 * len(images)


def test_only_the_copies_are_equal(phantoms: Phantoms) -> None:
    paths: dict[str, list[str]] = {}
    for path, digest in file_digests(phantoms.folder).items():
        if "masks/" not in path:
            paths.setdefault(digest, []).append(path)
    equal = {frozenset(group) for group in paths.values() if len(group) > 1}
    copies = [(d["path"], d["copy_of"]) for d in phantoms.manifest["defects"] if d["kind"] == "copy"]
    assert equal == {frozenset(pair) for pair in copies}
    assert all(Path(one).parents[2] == Path(other).parents[2] for one, other in copies)


def test_the_counts_are_those_of_the_plan(phantoms: Phantoms) -> None:
    counts = phantoms.manifest["counts"]
    assert counts["covid"]["Lung_Opacity"] == {"dropped_by_rule": 3}
    assert counts["pneumonia"]["bacterial"] == {"kept": 12, "unreadable": 1}
    assert counts["xray8"]["Effusion"] == {"absent": 1, "kept": 12, "unreadable": 1}
    assert counts["xray8"]["No Finding"]["dropped_by_rule"] >= 2


def test_every_lesion_mask_is_as_large_as_its_image_and_8_bit(phantoms: Phantoms) -> None:
    for dataset in ("covid", "pneumonia", "xray8"):
        folder = phantoms.folder / dataset
        images = {
            path.stem: path
            for path in folder.rglob("*")
            if path.parent.name in ("images", "PNEUMONIA") and path.is_file()
        }
        masks = sorted((folder / "lesion_masks").iterdir())
        assert len(masks) > 12
        for path in masks:
            mask = read_image(path)
            assert (mask.mode, mask.size) == ("L", read_image(images[path.stem]).size)
            assert 0 < np.count_nonzero(mask) < 0.5 * mask.width * mask.height


def test_the_demo_has_as_many_images_as_before() -> None:
    """Its results are quoted where the project is described: they change only on purpose."""
    demo = yaml.safe_load((ROOT / "config/demo.yaml").read_text())["phantoms"]
    tasks = [task for plan in LAYOUTS.values() for task in plan(parse_settings(PhantomSettings, demo)).tasks]
    there = Counter(task.dataset for task in tasks if task.fate != Fate.ABSENT)
    assert there == {"covid": 244, "pneumonia": 241, "xray8": 398}


def test_every_synthetic_dataset_has_a_reader() -> None:
    assert set(PHANTOM_READERS) == set(LAYOUTS)
    assert set(PHANTOM_READERS.values()) <= set(READERS)


def test_empty_folders_and_an_old_manifest_are_no_one_elses(tmp_path: Path) -> None:
    (tmp_path / "covid").mkdir()
    (tmp_path / "manifest.json").write_text("{}")
    claim_folder(tmp_path, ["covid/a.png"], tmp_path / "manifest.json")
    assert read_json(tmp_path / MARKER)["files"] == ["covid/a.png"]


def test_a_run_that_was_killed_is_swept_by_the_next(tmp_path: Path) -> None:
    claim_folder(tmp_path, ["covid/a.png", "covid/b.png"], tmp_path / "manifest.json")
    (tmp_path / "covid").mkdir()
    (tmp_path / "covid" / "a.png").write_bytes(b"half")
    claim_folder(tmp_path, ["xray8/c.png"], tmp_path / "manifest.json")
    assert not (tmp_path / "covid").exists()


def test_a_manifest_never_outlives_its_files(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    claim_folder(tmp_path, ["covid/a.png"], manifest)
    manifest.write_text("{}")
    claim_folder(tmp_path, ["covid/a.png"], manifest)
    assert not manifest.exists()


def test_a_file_in_the_way_is_not_overwritten(tmp_path: Path) -> None:
    claim_folder(tmp_path, ["covid/a.png"], tmp_path / "manifest.json")
    (tmp_path / "xray8").mkdir()
    (tmp_path / "xray8" / "c.png").write_bytes(b"mine")
    with pytest.raises(CxrflowError, match="in the way"):
        claim_folder(tmp_path, ["xray8/c.png"], tmp_path / "manifest.json")
    assert (tmp_path / "xray8" / "c.png").read_bytes() == b"mine"


@pytest.mark.parametrize("path", ["../precious.txt", "/etc/precious.txt", "a/../../precious.txt", ""])
def test_a_marker_that_points_out_of_the_folder_deletes_nothing(tmp_path: Path, path: str) -> None:
    folder = tmp_path / "phantoms"
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    write_json(folder / MARKER, {"files": [path]})
    with pytest.raises(CxrflowError, match="changed since it was written"):
        claim_folder(folder, [], folder / "manifest.json")
    assert precious.read_text() == "mine"


def test_a_folder_of_others_is_left_as_it_was_and_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "thesis.tex").write_text("mine")
    flags = ["--folder", tmp_path, "--settings", '{"images_per_class": 12}', "--manifest", tmp_path / "m.json"]
    monkeypatch.setattr(sys, "argv", ["phantom.py", *map(str, flags)])
    with pytest.raises(SystemExit, match=r"^error: [^\n]*thesis\.tex[^\n]*choose another folder[^\n]*$"):
        runpy.run_path(str(ROOT / "scripts" / "phantom.py"), run_name="__main__")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "thesis.tex"]
