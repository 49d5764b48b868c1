"""The device, memory that is kept, and seeds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cxrflow.errors import CxrflowError
from cxrflow.models import devices
from cxrflow.models.devices import (
    choose_device,
    derive_generator,
    derive_seed,
    make_deterministic,
    note_on_precision,
)


def test_cuda_that_is_not_there_stops_with_what_torch_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(CxrflowError, match="sees no GPU") as caught:
        choose_device("cuda")
    assert torch.__version__ in str(caught.value)
    assert torch.version.cuda is None or "CUDA_VISIBLE_DEVICES is ''" in str(caught.value)
    with pytest.raises(CxrflowError, match="'gpu': expected one of auto, cpu, cuda"):
        choose_device("gpu")
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")


def test_processes_of_one_machine_take_gpus_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All trainings took GPU 0, however many there were; and processes that shared both of two GPUs took one each."""
    machine = [Path(f"/dev/nvidia{number}") for number in range(3)]
    monkeypatch.setattr(Path, "glob", lambda *_: iter(machine))
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def claim(count: int = 1, setting: str = "auto", chosen: str = "") -> str:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if chosen:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
        choose_device(setting, count)
        return os.environ.get("CUDA_VISIBLE_DEVICES", "")

    assert [claim(setting="cpu"), claim(chosen="7"), claim(3)] == ["", "7", ""]
    assert [claim(2), claim(), claim(2), claim()] == ["0,1", "2", "0,1", "2"], "then they share, evenly"
    claims = {fd.resolve().name: int(fd.name) for fd in map(Path, os.scandir("/proc/self/fd"))}
    os.close(claims.pop("0.0"))
    assert claim() == "0", "its process has ended"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    ("precision", "flags", "slow"),
    [("bfloat16", "fpu avx2", True), ("bfloat16", "fpu avx512_bf16", False), ("float32", "fpu avx2", False)],
)
def test_bfloat16_without_hardware_is_told(
    monkeypatch: pytest.MonkeyPatch, precision: str, flags: str, slow: bool
) -> None:
    monkeypatch.setattr(devices, "_read_cpuinfo", lambda key: flags if key == "flags" else "")
    assert ("no bfloat16 arithmetic" in note_on_precision(torch.device("cpu"), precision)) == slow
    assert note_on_precision(torch.device("cuda"), precision) == ""


def test_threads_and_deterministic_algorithms_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    make_deterministic(2)
    assert torch.get_num_threads() == 2
    assert torch.are_deterministic_algorithms_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.utils.deterministic.fill_uninitialized_memory


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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
@pytest.mark.slow
def test_blocks_are_filled_with_zeros_by_the_system_once_and_not_anew() -> None:
    commands = [[sys.executable, "-c", COUNT_FAULTS, how] for how in ("kept", "given back")]
    kept, given_back = (int(subprocess.check_output(command, cwd=SCRIPTS)) for command in commands)
    assert kept < PAGES / 100
    assert given_back > PAGES / 600  # pages may be huge ones


def test_a_c_library_without_mallopt_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.ctypes, "CDLL", lambda _name: object())
    assert devices.keep_freed_memory() is False


def test_seeds_differ_by_purpose_and_by_each_number() -> None:
    asked = [("order", 0, 1), ("order", 1, 0), ("order", 1, 1), ("augment", 0, 1), ("order", 11), ("order", 1, 10)]
    seeds = {derive_seed(*one) for one in asked}
    assert len(seeds) == len(asked)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed("weights", 0) == 0x5CFA9343532FF6C6, "the same on every machine"
    assert torch.equal(*(torch.rand(3, generator=derive_generator("x", 1)) for _ in range(2)))
