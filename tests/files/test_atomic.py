"""Files are whole or absent."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import (
    WRITTEN,
    read_json,
    sha256_bytes,
    sha256_file,
    write_array,
    write_atomically,
    write_bytes,
    write_json,
    write_text,
)


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")
    with pytest.raises(FileNotFoundError), write_atomically(target) as temporary:
        temporary.write_bytes(b"half" + (tmp_path / "no such file").read_bytes())
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_link_stays_and_what_it_names_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "a.txt").symlink_to("there/b.txt")
    for text in ("old", "new"):
        write_text(tmp_path / "a.txt", text)
        assert (tmp_path / "a.txt").is_symlink()
        assert [path.read_text() for path in (tmp_path / "there").iterdir()] == [text]
    assert tmp_path / "a.txt" in WRITTEN  # the record of its stage lies beside the link


def test_a_pipe_is_written_to_and_a_folder_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_text(tmp_path / "pipe", "text")
    assert os.read(reader, 100) == b"text"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
    with pytest.raises(CxrflowError, match="is a folder, and a file is to be written"):
        write_text(tmp_path, "text")


def test_a_failed_write_names_the_file(tmp_path: Path) -> None:
    def write_on_a_full_disk() -> None:
        with write_atomically(tmp_path / "model.pt") as temporary:
            temporary.touch()
            raise OSError(errno.ENOSPC, "No space left on device")  # write() names no file

    with pytest.raises(OSError, match="No space") as caught:
        write_on_a_full_disk()
    assert caught.value.filename == str(tmp_path / "model.pt")


def test_a_kill_leaves_the_old_file_and_the_next_writer_sweeps(tmp_path: Path) -> None:
    target = tmp_path / "a [1].txt"
    write_text(target, "old")
    child = os.fork()
    if child == 0:
        with write_atomically(target) as temporary:
            temporary.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert target.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    write_text(target, "new")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["new"]


def test_a_reader_never_sees_a_part(tmp_path: Path) -> None:
    target = tmp_path / "big.bin"
    sizes = set()
    child = os.fork()
    if child == 0:
        for value in range(40):
            write_bytes(target, bytes([value]) * 2_000_000)
        os._exit(0)
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if target.exists():
            sizes.add(len(target.read_bytes()))
        time.sleep(0.001)
    assert sizes == {2_000_000}


def test_json_refuses_what_others_cannot_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not (tmp_path / "a.json").exists()
    write_json(tmp_path / "a.json", {"name": "Ünïcode"})
    assert read_json(tmp_path / "a.json") == {"name": "Ünïcode"}
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(CxrflowError, match="not valid JSON"):
        read_json(tmp_path / "a.json")
    with pytest.raises(CxrflowError, match="does not exist"):
        read_json(tmp_path / "b.json")


def test_arrays_and_hashes(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_array(tmp_path / "a.npy", array)
    assert np.array_equal(np.load(tmp_path / "a.npy"), array)
    assert sha256_file(tmp_path / "a.npy") == sha256_bytes((tmp_path / "a.npy").read_bytes())
    assert sha256_bytes(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


WRITES = """
import sys
from pathlib import Path
import numpy as np
from cxrflow.config.stages import explain_error
from cxrflow.files.atomic import write_array, write_bytes, write_json
from cxrflow.files.figures import Figure, save_figure
folder, big = Path(sys.argv[1]), "x" * 3_000_000
noise = Figure(figsize=(12, 12))
noise.figimage(np.random.default_rng(0).random((1500, 1500)), resize=True)
for write in (
    lambda path: write_array(path, np.ones((1000, 1000), np.float32)),
    lambda path: write_array(path, np.asfortranarray(np.ones((1000, 1000), np.float32))),
    lambda path: write_bytes(path, big.encode()),
    lambda path: write_json(path, big),
    lambda path: save_figure(noise, path),
):
    try:
        write(folder / "target")
    except OSError as error:
        print(explain_error(error))
print(list(folder.iterdir()))
"""


def test_a_full_disk_is_named_whatever_is_written(tmp_path: Path) -> None:
    """On a real file system of 1 MiB, which only root may mount."""
    script = 'mount -t tmpfs -o size=1m none "$1" && exec "$2" -c "$3" "$1"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", tmp_path, sys.executable, WRITES],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2] / "scripts",
    )
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip("no rights to mount a file system")
    full = (
        f"{tmp_path}/target: the disk is full: free space there and run the same command again; finished work is kept"
    )
    assert done.stdout.splitlines() == [full] * 5 + ["[]"], done.stderr
