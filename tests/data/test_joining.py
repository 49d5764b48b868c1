"""Shards give the very bytes of one packing; what does not belong together is refused before anything is written."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cxrflow.config.settings import IndexSettings, PreprocessSettings
from cxrflow.data import joining, packing
from cxrflow.data.indexing import build_index
from cxrflow.data.joining import join_shards, note_of, pack_shard
from cxrflow.data.packing import pack_images
from cxrflow.data.sharding import Shard, list_shards
from cxrflow.errors import CxrflowError
from cxrflow.files.records import IndexRow
from cxrflow.files.tables import write_records
from tests.data.toy import make_folders

SCRIPTS = Path(__file__).parents[2] / "scripts"
SMALL = PreprocessSettings(size_px=16)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Make a dataset of 20 images, its index, and what one job packs of it."""
    settings = make_folders(tmp_path / "data", per_class=10)
    rows = build_index(tmp_path / "data", settings, IndexSettings(), threads=2).rows
    write_records(tmp_path / "index.csv", IndexRow, rows)
    pack_images(tmp_path / "data", tmp_path / "index.csv", SMALL, 2, tmp_path / "resume", tmp_path / "whole.npy")
    return tmp_path


def rows_of(dataset: Path, shard: Shard) -> Path:
    return dataset / "shards" / shard.name / "rows.npy"


def pack(dataset: Path, shard: Shard, settings: PreprocessSettings = SMALL) -> Path:
    rows = rows_of(dataset, shard)
    pack_shard(dataset / "data", dataset / "index.csv", settings, 2, shard, rows.parent / "resume", rows)
    return rows


def join(dataset: Path, rows: list[Path], settings: PreprocessSettings = SMALL) -> bytes:
    join_shards(dataset / "index.csv", settings, rows, dataset / "new/images.npy")
    return (dataset / "new/images.npy").read_bytes()


@pytest.mark.parametrize("count", [1, 3, 20, 27])
def test_any_number_of_shards_gives_the_bytes_of_one_packing(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(joining, "COPY_BYTES", 100)  # less than an image
    rows = [pack(dataset, shard) for shard in list_shards(count)]  # 27: seven shards are empty
    assert join(dataset, rows) == (dataset / "whole.npy").read_bytes()
    assert {path.name for path in (dataset / "shards").rglob("*") if path.is_file()} == {"rows.npy", "rows.json"}


def test_a_killed_shard_goes_on_where_it_was_and_the_others_do_not_matter(dataset: Path) -> None:
    shard = Shard(2, 2)
    rows, note = rows_of(dataset, shard), rows_of(dataset, shard).parent / "resume/progress.json"
    command = (
        "import sys, time\nfrom pathlib import Path\nfrom cxrflow.data import packing\n"
        "from cxrflow.data.joining import pack_shard\nfrom cxrflow.data.sharding import Shard\n"
        "from cxrflow.config.settings import PreprocessSettings\n"
        "packing.SAVE_EVERY = 2\n"
        "slow = packing.read_preprocessed\n"
        "packing.read_preprocessed = lambda *a, **k: (time.sleep(0.05), slow(*a, **k))[1]\n"
        "d, rows = map(Path, sys.argv[1:])\n"
        "pack_shard(d / 'data', d / 'index.csv', PreprocessSettings(size_px=16), 1, Shard(2, 2),"
        " rows.parent / 'resume', rows)\n"
    )
    run = subprocess.Popen([sys.executable, "-c", command, dataset, rows], cwd=SCRIPTS, stdout=subprocess.DEVNULL)
    while not note.exists() and run.poll() is None:
        time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    run.wait()
    done = json.loads(note.read_text())["n_done"]
    assert 0 < done < 10
    assert not rows.exists()
    first = pack(dataset, Shard(1, 2))
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        read = packing.read_preprocessed
        patch.setattr(packing, "read_preprocessed", lambda *a, **k: (seen.append(a[1]), read(*a, **k))[1])
        pack(dataset, shard)
    assert len(seen) == 10 - done
    assert join(dataset, [first, rows]) == (dataset / "whole.npy").read_bytes()


@pytest.mark.parametrize("harm", ["fewer", "order", "settings", "index", "code", "cut off", "header", "gone"])
def test_what_does_not_belong_together_is_refused(dataset: Path, monkeypatch: pytest.MonkeyPatch, harm: str) -> None:
    rows = [pack(dataset, shard) for shard in list_shards(3)]
    harms = {
        "fewer": (lambda: rows.pop(), r"is shard 1-of-3, expected 1-of-2"),
        "order": (lambda: rows.reverse(), r"is shard 3-of-3, expected 1-of-3"),
        "settings": (lambda: pack(dataset, Shard(2, 3), PreprocessSettings(size_px=16, blur_px=0)), "other settings"),
        "index": (lambda: swap_rows(dataset / "index.csv"), "from another index"),
        "code": (lambda: monkeypatch.setattr(packing, "code_hash", lambda stage: "other"), "other code"),
        "cut off": (lambda: os.truncate(rows[1], 500), "not whole, expected"),
        "header": (lambda: rows[1].write_bytes(rows[1].read_bytes().replace(b"16, 16", b"32, 08")), "number or size"),
        "gone": (lambda: note_of(rows[1]).unlink(), r"rows\.json is not there"),
    }
    do, words = harms[harm]
    do()
    with pytest.raises(CxrflowError, match=words):
        join(dataset, rows)
    assert not (dataset / "new/images.npy").exists()


def swap_rows(index: Path) -> None:
    lines = index.read_text().splitlines(keepends=True)
    index.write_text("".join(lines[:1] + lines[:0:-1]))


def test_work_begun_for_another_stretch_is_not_continued(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A resume folder in the wrong place: same index, settings and number of images, other rows."""
    begun, resume = (rows_of(dataset, Shard(number, 2)).parent / "resume" for number in (1, 2))
    with monkeypatch.context() as patch:
        patch.setattr(packing, "SAVE_EVERY", 2)
        left, read = iter(range(7)), packing.read_preprocessed
        patch.setattr(packing, "read_preprocessed", lambda *a, **k: (next(left), read(*a, **k))[1])
        with pytest.raises(RuntimeError, match="StopIteration"):
            pack(dataset, Shard(1, 2))
    resume.parent.mkdir()
    begun.rename(resume)
    rows = [pack(dataset, shard) for shard in list_shards(2)]
    assert join(dataset, rows) == (dataset / "whole.npy").read_bytes()
    assert "going on" not in capsys.readouterr().out


def test_rows_are_never_left_with_the_note_of_others(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [pack(dataset, shard) for shard in list_shards(2)]
    with monkeypatch.context() as patch:
        patch.setattr(joining, "write_json", lambda *arguments: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            pack(dataset, Shard(2, 2), PreprocessSettings(size_px=16, blur_px=0))
    with pytest.raises(CxrflowError, match=r"rows\.json is not there"):
        join(dataset, rows)


def test_too_small_a_disk_stops_the_join(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [pack(dataset, shard) for shard in list_shards(2)]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 2**20))
    with pytest.raises(CxrflowError, match="1 MiB free"):
        join(dataset, rows)
    assert list(dataset.glob(".images*")) == []
