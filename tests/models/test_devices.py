import os

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
    with pytest.raises(CxrflowError, match="'gpu': expected one of auto, cpu, cuda"):
        choose_device("gpu")
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
