"""The energy that a GPU has taken, by its own counter, which NVML reads from Volta on.

The counter is of the whole GPU: what idles and what others run on it counts, too. torch.cuda reads power alone, a mean
over up to a second, and needs a further package for it. Source: nvmlDeviceGetTotalEnergyConsumption in
https://docs.nvidia.com/deploy/nvml-api/
"""

import ctypes

import torch

LIBRARY = "libnvidia-ml.so.1"  # comes with the driver


def read_energy_j(device: torch.device) -> float | None:
    """Return the joules that a device has taken since its driver was loaded; None where no counter can be read."""
    if device.type != "cuda":
        return None
    return read_counter_j(f"GPU-{torch.cuda.get_device_properties(device).uuid}")


def read_counter_j(uuid: str) -> float | None:
    """Return the counter of a GPU in joules, by its UUID as nvidia-smi writes it; None where it cannot be read."""
    handle, millijoules = ctypes.c_void_p(), ctypes.c_ulonglong()
    try:
        nvml = ctypes.CDLL(LIBRARY)
        failed = (
            nvml.nvmlInit_v2()
            or nvml.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(handle))
            or nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules))
        )
    except (OSError, AttributeError):  # no such library, or one without the function
        return None
    return None if failed else millijoules.value / 1e3
