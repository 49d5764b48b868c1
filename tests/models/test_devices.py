import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cxrflow.errors import CxrflowError
from cxrflow.models import devices
from cxrflow.models.devices import choose_device, describe_device, make_deterministic, note_on_precision


def test_cuda_that_is_not_there_stops_with_what_torch_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(CxrflowError, match="sees no GPU") as caught:
        choose_device("cuda")
    assert torch.__version__ in str(caught.value)
    assert torch.version.cuda is None or "CUDA_VISIBLE_DEVICES is ''" in str(caught.value)
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")


def test_cpu_has_a_name() -> None:
    assert describe_device(torch.device("cpu")).strip()


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


def test_small_pieces_are_kept_and_large_ones_given_back() -> None:
    code = """
import re, torch
from pathlib import Path
from cxrflow.models.devices import keep_freed_memory
def hold(n, mib):
    before = read()
    tensors = [torch.ones(mib, 2**18) for _ in range(n)]
    del tensors
    return read() - before
def read():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024
keep_freed_memory(16)
print(hold(4, 20), hold(20, 4))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(devices.__file__).parents[2])}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    large_mib, small_mib = map(int, run.stdout.split())
    assert large_mib < 20
    assert small_mib > 60
