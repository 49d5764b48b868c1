"""The GPU's own energy counter, read through a library that is not there."""

import ctypes
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cxrflow.models import energy
from cxrflow.models.energy import read_counter_j, read_energy_j

NOT_SUPPORTED = 3  # NVML_ERROR_NOT_SUPPORTED: a GPU older than Volta


def fake_library(asked: list[bytes], status: int = 0, **changes: Any) -> SimpleNamespace:
    """Answer as NVML does: a status, and what was asked for through pointers."""

    def find(uuid: bytes, handle: Any) -> int:
        asked.append(uuid)
        handle._obj.value = 7
        return 0

    def read(handle: ctypes.c_void_p, millijoules: Any) -> int:
        assert handle.value == 7
        millijoules._obj.value = 2**40 + 500
        return status

    names = ("nvmlInit_v2", "nvmlDeviceGetHandleByUUID", "nvmlDeviceGetTotalEnergyConsumption")
    return SimpleNamespace(**dict(zip(names, (lambda: 0, find, read), strict=True)) | changes)


def test_the_counter_of_the_gpu_is_read_in_joules(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    monkeypatch.setattr(energy.ctypes, "CDLL", lambda name: fake_library(asked))
    assert read_counter_j("GPU-1234") == pytest.approx((2**40 + 500) / 1000)
    assert asked == [b"GPU-1234"]


def test_without_a_library_a_driver_or_a_counter_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_energy_j(torch.device("cpu")) is None
    monkeypatch.setattr(energy, "LIBRARY", "libno-such-library.so.1")
    assert read_counter_j("GPU-1234") is None
    for library in (
        fake_library([], NOT_SUPPORTED),
        fake_library([], nvmlInit_v2=lambda: 9),  # NVML_ERROR_DRIVER_NOT_LOADED
        SimpleNamespace(nvmlInit_v2=lambda: 0),  # a library without the function
    ):
        monkeypatch.setattr(energy.ctypes, "CDLL", lambda name, library=library: library)
        assert read_counter_j("GPU-1234") is None
