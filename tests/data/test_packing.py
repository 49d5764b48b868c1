import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cxrflow.config.settings import IndexSettings, PreprocessSettings
from cxrflow.data import packing, reading
from cxrflow.data.decode import decode_image
from cxrflow.data.images import open_images
from cxrflow.data.indexing import build_index
from cxrflow.data.packing import pack_images, read_part
from cxrflow.data.preprocessing import preprocess_image
from cxrflow.data.reading import map_in_processes
from cxrflow.errors import CxrflowError
from cxrflow.files import leases
from cxrflow.files.records import IndexRow, SplitRow
from cxrflow.files.tables import read_records, write_records
from tests.data.toy import make_folders

SCRIPTS = Path(__file__).parents[2] / "scripts"
SMALL = PreprocessSettings(size_px=16)


@pytest.fixture
def dataset(tmp_path):
    """Make a dataset of 40 images and its index; return the folder that holds both."""
    settings = make_folders(tmp_path / "data", per_class=20)
    rows = build_index(tmp_path / "data", settings, IndexSettings(), threads=2).rows
    write_records(tmp_path / "index.csv", IndexRow, rows)
    return tmp_path


def pack(dataset, settings=SMALL, threads=2, images="images.npy"):
    rows = read_records(dataset / "index.csv", IndexRow)
    pack_images(dataset / "data", rows, settings, threads, dataset / "resume", dataset / images)
    packed = open_images(dataset / images)
    packed.check(range(len(packed.rows)))
    return packed.pixels


def stop_after(monkeypatch, n):
    """Let packing fail at image n + 1, as a kill between two images would."""
    done = iter(range(n))
    preprocess = packing.read_preprocessed

    def stop(folder, row, settings):
        if next(done, None) is None:
            raise KeyboardInterrupt
        return preprocess(folder, row, settings)

    monkeypatch.setattr(packing, "read_preprocessed", stop)


@pytest.mark.parametrize("threads", [1, 5])
def test_row_i_is_image_i_of_the_index_whatever_number_of_threads(dataset, threads):
    images = pack(dataset, threads=threads)
    assert (images.shape, images.dtype) == ((40, 16, 16), np.uint8)
    for row, image in zip(packing.read_records(dataset / "index.csv", IndexRow), images, strict=True):
        gray = decode_image((dataset / "data" / row.path).read_bytes()).gray
        np.testing.assert_array_equal(image, preprocess_image(gray, SMALL))
    assert not (dataset / "resume").exists()


def test_processes_change_nothing(dataset, monkeypatch):
    begun = []

    def share(function, items, count):
        begun.append(count)
        return map_in_processes(function, items, count)

    expected = np.array(pack(dataset, threads=1, images="expected.npy"))
    monkeypatch.setattr(reading, "PROCESS_FROM", 20)
    monkeypatch.setattr(reading, "map_in_processes", share)
    np.testing.assert_array_equal(pack(dataset, threads=2), expected)
    assert begun == [2]


def pack_30_of_40(dataset, monkeypatch):
    monkeypatch.setattr(packing, "SAVE_EVERY", 8)
    with monkeypatch.context() as patch:
        stop_after(patch, 30)
        with pytest.raises(KeyboardInterrupt):
            pack(dataset, threads=1)


def test_goes_on_after_a_stop_without_doing_work_twice(dataset, monkeypatch, capsys):
    expected = np.array(pack(dataset, images="expected.npy"))
    pack_30_of_40(dataset, monkeypatch)
    assert not (dataset / "images.npy").exists()
    done = n_done(dataset)
    assert 8 <= done <= 30
    with monkeypatch.context() as patch:
        stop_after(patch, 40 - done)  # one image more would fail
        np.testing.assert_array_equal(pack(dataset), expected)
    assert f"resuming after {done} images" in capsys.readouterr().out


@pytest.mark.parametrize("change", ["settings", "index", "code", "cut off", "damaged"])
def test_a_stale_part_is_begun_anew(dataset, monkeypatch, capsys, change):
    pack_30_of_40(dataset, monkeypatch)
    settings = SMALL
    if change == "settings":
        settings = PreprocessSettings(size_px=16, blur_px=0)
    elif change == "index":
        lines = (dataset / "index.csv").read_text().splitlines(keepends=True)
        (dataset / "index.csv").write_text("".join(lines[:1] + lines[:0:-1]))
    elif change == "code":
        monkeypatch.setattr(packing, "code_hash", lambda stage: "other")
    elif change == "cut off":
        os.truncate(dataset / "resume/images.partial", 500)
    else:
        with (dataset / "resume/images.partial").open("r+b") as part:
            part.seek(200)
            part.write(b"other pixels")
    images = np.array(pack(dataset, settings))
    assert "resuming" not in capsys.readouterr().out
    np.testing.assert_array_equal(images, pack(dataset, settings, images="again.npy"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Path.unlink, "has disappeared since it was indexed: put it back"),
        (lambda path: path.write_bytes(path.read_bytes() + b"more"), "has changed since it was indexed"),
    ],
)
def test_a_missing_or_changed_file_is_named(dataset, change, said):
    path = next((dataset / "data/ill").glob("*.png"))
    change(path)
    with pytest.raises(CxrflowError, match=rf"{path.name}, image ill/{path.name}, {said}"):
        pack(dataset)
    assert not (dataset / "images.npy").exists()


def test_a_split_of_another_index_and_an_empty_one_stop(dataset):
    rows = read_records(dataset / "index.csv", IndexRow)
    split = [SplitRow(row.image_id, row.label, row.patient_id, row.patient_id, "train") for row in rows]
    write_records(dataset / "split.csv", SplitRow, split[:3])
    assert read_part(dataset / "index.csv", dataset / "split.csv") == rows[:3]
    write_records(dataset / "index.csv", IndexRow, rows[1:])
    with pytest.raises(CxrflowError, match=r"has 3 images, and \S+ knows 2 of them"):
        read_part(dataset / "index.csv", dataset / "split.csv")
    write_records(dataset / "split.csv", SplitRow, [])
    with pytest.raises(CxrflowError, match="has 0 images"):
        read_part(dataset / "index.csv", dataset / "split.csv")


def test_too_small_a_disk_stops_before_any_work(dataset, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 2**20))
    with pytest.raises(CxrflowError, match=r"1 MiB free, and packing 40 images of 16x16 px needs 64 MiB"):
        pack(dataset)


def test_a_disk_that_fills_up_names_the_file_and_keeps_the_work(dataset, monkeypatch):
    monkeypatch.setattr(packing, "SAVE_EVERY", 8)
    written = iter(range(20))

    class FullDisk(packing.FileIO):
        def write(self, data):
            if next(written, None) is None:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    with monkeypatch.context() as patch:
        patch.setattr(packing, "FileIO", FullDisk)
        with pytest.raises(OSError, match=r"images\.partial") as caught:
            pack(dataset)
    assert caught.value.errno == errno.ENOSPC
    assert n_done(dataset) == 16
    np.testing.assert_array_equal(pack(dataset), pack(dataset, images="again.npy"))


def test_writes_that_take_only_a_part_are_completed(dataset, monkeypatch):
    class SlowDisk(packing.FileIO):
        def write(self, data):
            return super().write(data[:100])

    expected = np.array(pack(dataset, images="expected.npy"))
    monkeypatch.setattr(packing, "FileIO", SlowDisk)
    np.testing.assert_array_equal(pack(dataset), expected)


def test_a_resume_folder_on_another_disk(dataset, monkeypatch):
    def other_disk(source, target):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    expected = np.array(pack(dataset, images="expected.npy"))
    monkeypatch.setattr(os, "rename", other_disk)
    np.testing.assert_array_equal(pack(dataset), expected)
    assert not (dataset / "resume").exists()


def test_two_runs_do_not_pack_into_one_folder(dataset):
    with (
        leases.hold_lease(dataset / "resume", "packing"),
        pytest.raises(CxrflowError, match="is already running: process"),
    ):
        pack(dataset)


def test_the_lease_is_held_until_all_is_removed(dataset, monkeypatch):
    """Whoever waits makes files in the folder, so nobody may remove it as a whole."""

    @contextlib.contextmanager
    def check_at_the_end(folder, work):
        with leases.hold_lease(folder, work) as lease:
            yield lease
            lease.check()

    monkeypatch.setattr(leases, "CHECK_PAUSES_S", (0.0,))
    monkeypatch.setattr(packing, "hold_lease", check_at_the_end)
    pack(dataset)
    assert not (dataset / "resume").exists()


def test_killed_three_times_gives_the_same_array(dataset):
    expected = np.array(pack(dataset, images="expected.npy"))
    command = (
        "import sys, time\nfrom pathlib import Path\nfrom cxrflow.data import packing\n"
        "from cxrflow.config.settings import PreprocessSettings\n"
        "packing.SAVE_EVERY = 2\n"
        "slow = packing.read_preprocessed\n"
        "packing.read_preprocessed = lambda *a, **k: (time.sleep(0.02), slow(*a, **k))[1]\n"
        "d = Path(sys.argv[1])\n"
        "settings = PreprocessSettings(size_px=16)\n"
        "from cxrflow.files.tables import read_records\n"
        "rows = read_records(d / 'index.csv', packing.IndexRow)\n"
        "packing.pack_images(d / 'data', rows, settings, 2, d / 'resume', d / 'images.npy')\n"
    )
    reached = []
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", command, dataset], cwd=SCRIPTS, stdout=subprocess.DEVNULL) as run:
            before = reached[-1] if reached else 0
            while n_done(dataset) <= before and run.poll() is None:
                time.sleep(0.005)
            run.send_signal(signal.SIGKILL)
        reached.append(n_done(dataset))
        assert not (dataset / "images.npy").exists()
    assert 0 < reached[0] < reached[1] < reached[2] < 40
    np.testing.assert_array_equal(pack(dataset), expected)


def n_done(dataset):
    note = dataset / "resume/progress.json"
    return len(json.loads(note.read_text())["crc32"]) if note.exists() else 0


def test_starts_without_heavy_libraries():
    code = (
        "import sys, cxrflow.data.packing\n"
        "print([m for m in ('torch', 'torchvision', 'sklearn', 'matplotlib', 'pandas', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
