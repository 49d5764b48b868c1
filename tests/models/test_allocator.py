"""Memory that is freed stays with the process."""

import subprocess
import sys
from pathlib import Path

import pytest

from cxrflow.models import devices

SCRIPTS = Path(devices.__file__).parents[2]
COUNT_FAULTS = """
import resource, sys
from cxrflow.models.devices import keep_freed_memory
if sys.argv[1] == "kept" and not keep_freed_memory():
    sys.exit("no mallopt")
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
faults = []
for size in (24 << 20, 16 << 20, 24 << 20, 20 << 20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(size)
    ctypes.memset(block, 1, size)
    libc.free(block)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(sum(faults[1:]))
"""
PAGES = (16 + 24 + 20) << 20 >> 12  # of 4 KiB, after the first block


def count_faults(how: str) -> int:
    command = [sys.executable, "-c", COUNT_FAULTS, how]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=SCRIPTS)
    return int(run.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
def test_blocks_are_filled_with_zeros_by_the_system_once() -> None:
    assert count_faults("kept") < PAGES / 100


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
def test_otherwise_every_block_is_asked_for_anew() -> None:
    assert count_faults("given back") > PAGES / 600  # pages may be huge ones


def test_a_c_library_without_mallopt_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.ctypes, "CDLL", lambda _name: object())
    assert devices.keep_freed_memory() is False
