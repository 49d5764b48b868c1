import os
import socket
import threading
from pathlib import Path

import numpy as np
import pytest

from cxrflow.data import reading
from cxrflow.data.hashing import shrink
from cxrflow.data.reading import ImageFacts, hash_pixels, map_in_threads, read_facts, report_progress
from cxrflow.files.atomic import sha256_file
from tests.data.toy import draw, encode, write_image


def test_facts_of_a_file(tmp_path):
    write_image(tmp_path / "a.png", 1, size=16)
    path, pixels = tmp_path / "a.png", draw(1, size=16)
    facts, hashes = read_facts(path, 100), (sha256_file(path), hash_pixels(pixels))
    assert facts == ImageFacts(16, 16, "L", *hashes, path.stat().st_size, shrink(pixels))
    assert facts.thumbnail.shape == (128, 128)


def test_reasons(tmp_path):
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    assert "broken link" in read_facts(tmp_path / "link.png", 100)
    assert "directory" in read_facts(tmp_path, 100)
    (tmp_path / "empty.png").touch()
    assert "empty" in read_facts(tmp_path / "empty.png", 100)


def read_in_time(path, seconds=20):
    """Return what reading a file gives, or empty text where it hangs."""
    found = []
    reader = threading.Thread(target=lambda: found.append(read_facts(path, 100)), daemon=True)
    reader.start()
    reader.join(seconds)
    return "".join(map(str, found))


def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.png"))
        for name in ("pipe.png", "device.png", "socket.png"):
            assert "a pipe, a socket or a device" in read_in_time(tmp_path / name)


def test_a_file_larger_than_any_image_is_not_read(tmp_path, monkeypatch):
    with (tmp_path / "huge.png").open("wb") as handle:
        handle.truncate(60 * 10**9)  # a hole: no block of it is on the disk
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("it was read"))
    assert "it has 60.0 GB, and no image of 100 megapixels is so large" in read_facts(tmp_path / "huge.png", 100)


def test_a_lack_of_memory_is_that_files_problem(tmp_path, monkeypatch):
    write_image(tmp_path / "a.png", 1)

    def fail(data, max_mpx):
        raise MemoryError

    monkeypatch.setattr(reading, "decode_image", fail)
    assert "more memory than there is" in read_facts(tmp_path / "a.png", 100)


def test_equal_pixels_in_other_formats_have_the_same_hash(tmp_path):
    gray = draw(2)
    (tmp_path / "gray.png").write_bytes(encode(gray))
    (tmp_path / "colour.bmp").write_bytes(encode(np.dstack([gray] * 3), ".bmp"))
    one, two = (read_facts(tmp_path / name, 100) for name in ("gray.png", "colour.bmp"))
    assert one.pixel_sha256 == two.pixel_sha256
    assert one.sha256 != two.sha256


def test_the_shape_is_part_of_the_hash():
    assert hash_pixels(np.zeros((2, 8), np.uint8)) != hash_pixels(np.zeros((4, 4), np.uint8))
    upside_down = draw(3)[::-1]  # not contiguous
    assert hash_pixels(upside_down) == hash_pixels(upside_down.copy())


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_order(threads):
    assert list(map_in_threads(lambda x: x * x, range(500), threads)) == [x * x for x in range(500)]


def test_work_does_not_run_far_ahead_of_a_slow_consumer():
    begun = []
    results = map_in_threads(lambda x: begun.append(x), range(10_000), 2)
    for _ in range(5):
        next(results)
    assert len(begun) <= 5 + reading.AHEAD_PER_THREAD * 2
    results.close()
    assert len(begun) <= 5 + reading.AHEAD_PER_THREAD * 2


def test_an_error_reaches_the_caller_and_ends_the_threads():
    def fail(x):
        if x == 3:
            raise ValueError("third")
        return x

    before = threading.active_count()
    with pytest.raises(ValueError, match="third"):
        list(map_in_threads(fail, range(1000), 2))
    assert threading.active_count() == before


def test_progress_lines(capsys, monkeypatch):
    monkeypatch.setattr(reading, "REPORT_EVERY_S", 0.0)
    assert list(report_progress(iter("ab"), 2010, "read", done=2008)) == ["a", "b"]
    assert "read 2,010 of 2,010 images" in capsys.readouterr().out
