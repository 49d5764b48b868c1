"""The commands of the data, as a user or a rule calls them: what they print, and what they leave behind."""

import csv
import inspect
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from cxrflow.config.parsing import settings_json
from cxrflow.config.stages import build_parser
from cxrflow.data.images import open_images
from cxrflow.data.indexing import NOT_UTF8
from cxrflow.files.provenance import verify_files
from cxrflow.files.records import SplitRow
from cxrflow.files.tables import read_records
from tests.data.toy import make_covid, make_folders, write_image

SCRIPTS = Path(__file__).parents[2] / "scripts"
COMMANDS = ("index", "copies", "split", "preprocess", "samples")


def call(stage, **flags):
    """Run a stage as a command; return (exit status, its output)."""
    words = [word for name, value in flags.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    command = [sys.executable, SCRIPTS / f"{stage}.py", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


def index_flags(out, folder, settings, **index_settings):
    return {
        "folder": folder,
        "dataset": "toy",
        "reader_settings": settings_json(settings),
        "settings": json.dumps(index_settings),
        "threads": 2,
        "index": out / "index.csv",
        "rejects": out / "rejects.csv",
        "regions": out / "regions.csv",
        "thumbnails": out / "thumbnails.npy",
        "summary": out / "index.json",
    }


def call_split(out):
    """Look for copies and split, with an index in `out`; return what split does."""
    one = {"datasets": "toy", "indexes": out / "index.csv", "thumbnails": out / "thumbnails.npy", "threads": 2}
    status, output = call("copies", **one, settings="{}", copies=out / "copies.csv", groups=out / "groups.csv")
    assert (status, "compared" in output) == (0, True), output
    given = {"index": out / "index.csv", "dataset": "toy", "groups": out / "groups.csv", "settings": "{}"}
    return call("split", **given, split=out / "split.csv", test=out / "test.csv")


def preprocess_flags(out, folder):
    return {
        "folder": folder,
        **{name: out / f"{name}.csv" for name in ("index", "split", "test")},
        "settings": '{"size_px": 16}',
        "threads": 2,
        "resume": out / "resume",
        "images": out / "images.npy",
        "test_images": out / "test/images.npy",
    }


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file()) if folder.exists() else []


def assert_one_clear_line(result, *words):
    status, output = result
    assert status == 1
    assert output.count("\n") == 1, output
    assert output.startswith("error: ")
    for word in words:
        assert word in output


def test_from_a_folder_to_figures(tmp_path):
    folder, out = tmp_path / "a folder; with 'quotes'", tmp_path / "out"
    settings = make_covid(folder)
    write_image(folder / "elsewhere/x.png", 77)
    status, output = call("index", **index_flags(out, folder, settings))
    assert (status, "images" in output, "note: 1 image files lie where" in output) == (0, True, True), output
    status, output = call_split(out)
    assert (status, "train" in output, "split: by seed" in output) == (0, True, True), output
    assert call("preprocess", **preprocess_flags(out, folder))[0] == 0
    flags = {
        "folder": folder,
        "index": out / "index.csv",
        "images": out / "images.npy",
        "settings": '{"images_per_class": 2}',
        "preprocess": '{"size_px": 16}',
        "title": "Toy",
        "samples": out / "samples.png",
        "before_after": out / "before_after.png",
    }
    status, output = call("samples", **flags)
    assert (status, "drew" in output) == (0, True), output
    with (out / "index.csv").open() as handle:
        ids = [row["image_id"] for row in csv.DictReader(handle)]
    parts = [[row.image_id for row in read_records(out / f"{part}.csv", SplitRow)] for part in ("split", "test")]
    assert [each for each in ids if each in parts[0]] == parts[0]  # in index order
    assert [each for each in ids if each in parts[1]] == parts[1]
    assert sorted(parts[0] + parts[1]) == sorted(ids)
    for part, images in zip(parts, ("images.npy", "test/images.npy"), strict=True):
        assert [row.image_id for row in open_images(out / images).rows] == part
    found = ["copies.csv", "groups.csv"]
    packed = ["images.csv", "images.csv", "images.npy", "images.npy"]
    names = ["before_after.png", *found, *packed, "index.csv", "index.json", "regions.csv", "rejects.csv"]
    assert [name for name in files(out) if not name.endswith(".json") or name == "index.json"] == [
        *names, "samples.png", "split.csv", "test.csv", "thumbnails.npy",
    ]  # fmt: skip
    assert verify_files(out) == (15, [])


@pytest.mark.parametrize("stage", COMMANDS)
def test_the_example_in_the_help_has_every_flag(stage, monkeypatch):
    captured = []
    monkeypatch.setattr("cxrflow.config.stages.run_stage", captured.append)
    example = runpy.run_path(str(SCRIPTS / f"{stage}.py"), run_name="__main__")["__doc__"]
    (function,) = captured
    assert f"python scripts/{stage}.py" in example
    for name in inspect.signature(function).parameters:
        assert f"--{name.replace('_', '-')} " in example
    assert "default" in build_parser(function).format_help()


def test_a_missing_folder(tmp_path):
    flags = index_flags(tmp_path / "out", tmp_path / "data", make_covid(tmp_path / "elsewhere"))
    assert_one_clear_line(call("index", **flags), "put COVID-19_Radiography_Dataset/ as Kaggle publishes it into it")
    assert files(tmp_path / "out") == []


def test_bad_files_of_every_kind_below_the_limit(tmp_path):
    settings = make_folders(tmp_path / "data")
    ill = tmp_path / "data/ill"
    (ill / "empty.png").touch()
    (ill / "dicom.png").write_bytes(bytes(128) + b"DICM")
    (ill / "dangling.png").symlink_to(ill / "nowhere")
    whole = (ill / "p0_0.png").read_bytes()
    (ill / "half.png").write_bytes(whole[: len(whole) // 2])
    for name in ("a b.png", "semi;colon.png", 'quo"te.png', "new\nline.png", "$(touch gone).png"):
        write_image(ill / name, hash(name) % 1000 + 500)
    not_utf8 = os.fsencode(ill) + b"/caf\xe9.png"
    Path(os.fsdecode(not_utf8)).write_bytes(whole)
    out = tmp_path / "out"
    status, output = call("index", **index_flags(out, tmp_path / "data", settings, max_rejected_share=0.9))
    assert status == 0, output
    with (out / "rejects.csv").open(newline="") as handle:
        rejects = {row["path"]: row["reason"] for row in csv.DictReader(handle)}
    assert set(rejects) == {f"ill/{n}.png" for n in ("empty", "dicom", "dangling", "half", "caf\\xe9")}
    assert rejects["ill/caf\\xe9.png"] == NOT_UTF8
    assert "DICOM" in rejects["ill/dicom.png"]
    with (out / "index.csv").open(newline="") as handle:
        assert "ill/new\nline.png" in {row["path"] for row in csv.DictReader(handle)}
    assert json.loads((out / "index.json").read_text())["rejects"]["unreadable"]
    assert call_split(out)[0] == 0
    assert call("preprocess", **preprocess_flags(out, tmp_path / "data"))[0] == 0


def test_copies_within_a_class_are_counted_in_the_log(tmp_path):
    folder, out = tmp_path / "data", tmp_path / "out"
    settings = make_folders(folder)
    for name in ("again", "and_again"):
        (folder / f"ill/{name}.png").write_bytes((folder / "ill/p0_0.png").read_bytes())
    status, output = call("index", **index_flags(out, folder, settings))
    assert (status, "copies (equal pixels, same class): 2 of these" in output) == (0, True), output
