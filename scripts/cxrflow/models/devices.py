"""The device that computes, and what makes its results repeat: seeds, threads, deterministic algorithms."""

import ctypes
import fcntl
import hashlib
import itertools
import os
import platform
import tempfile
from pathlib import Path

import cv2
import torch

from cxrflow.config.settings import DEVICES
from cxrflow.errors import CxrflowError

# Parameters of glibc's mallopt: https://man7.org/linux/man-pages/man3/mallopt.3.html
M_TRIM_THRESHOLD = -1  # bytes free at the top of the heap before they are given back
M_MMAP_THRESHOLD = -3  # bytes of a block before it is mapped on its own, and given back when freed
LARGE_BYTES = 2**25  # the most that every glibc takes for M_MMAP_THRESHOLD
NEVER = 2**31 - 1  # the largest C int


def claim_gpus(setting: str, count: int = 1) -> None:
    """Let this process see `count` GPUs, those that the fewest other processes claim; call it before CUDA starts.

    Without this all jobs of one machine would take its first GPU. Who has chosen before, be it Slurm, a user or the
    process that started this one, has set CUDA_VISIBLE_DEVICES, and that stays. A claim is a lock on a file in the
    machine's temporary folder, which ends with its process.
    """
    gpus = range(len([*Path("/dev").glob("nvidia[0-9]*")]))
    if setting == "cpu" or len(gpus) <= count or "CUDA_VISIBLE_DEVICES" in os.environ:
        return
    folder = Path(tempfile.gettempdir(), f"cxrflow-gpus-{os.getuid()}")
    folder.mkdir(exist_ok=True)
    mine: set[int] = set()
    for share, gpu in ((share, gpu) for share in itertools.count() for gpu in gpus):  # first one process on every GPU
        if len(mine) == count:
            break
        descriptor = os.open(folder / f"{gpu}.{share}", os.O_CREAT | os.O_RDWR)  # stays open to the end
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine.add(gpu)
        except BlockingIOError:
            os.close(descriptor)
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, sorted(mine)))


def choose_device(setting: str, count: int = 1) -> torch.device:
    """Return the device of a `device` setting: `cpu`, `cuda`, or `auto` for a GPU where there is one.

    As many GPUs as are counted are claimed: each of several processes that share a training counts those of all.

    Raises:
        CxrflowError: it is none of these, or `cuda` and PyTorch sees no GPU.
    """
    if setting not in DEVICES:
        raise CxrflowError(f"device is {setting!r}: expected one of {', '.join(DEVICES)}")
    claim_gpus(setting, count)
    if setting == "cuda" and not torch.cuda.is_available():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
        raise CxrflowError(
            f"device is cuda, and PyTorch {torch.__version__} sees no GPU on {platform.node()} (built for CUDA: "
            f"{torch.version.cuda or 'no'}; CUDA_VISIBLE_DEVICES is {visible!r}): "
            "request a GPU (the profile slurm does, with resources gpu=1), or set device to cpu or auto"
        )
    return torch.device("cpu" if setting == "cpu" or not torch.cuda.is_available() else "cuda")


def describe_device(device: torch.device, count: int = 1) -> str:
    """Return a device's name as its maker sells it, with how many there are if there are several."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = _read_cpuinfo("model name") or platform.processor() or platform.machine()
    return name if count == 1 else f"{count} x {name}"


def note_on_precision(device: torch.device, precision: str) -> str:
    """Return a warning where bfloat16 is computed without hardware for it, or nothing.

    Measured on an AVX2-only CPU: a step of ResNet-34 takes 13 times as long in bfloat16 as in float32.
    """
    flags = (_read_cpuinfo("flags") or _read_cpuinfo("Features")).split()  # x86, ARM
    if precision != "bfloat16" or device.type != "cpu" or {"avx512_bf16", "amx_bf16", "bf16"} & {*flags}:
        return ""
    return "note: this CPU has no bfloat16 arithmetic and may take ten times as long as with precision float32"


def _read_cpuinfo(key: str) -> str:
    """Return the first value of a key in Linux's /proc/cpuinfo, or nothing."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.split("\t")[0] == key), "")


def prepare_process(threads: int) -> None:
    """Set a process up for networks: results that repeat, and memory that is kept between batches."""
    keep_freed_memory()
    make_deterministic(threads)


def keep_freed_memory() -> bool:
    """Keep freed memory for the next batch instead of giving it back; call it before the first large block.

    glibc requests every block over some size from the system and gives it back when it is freed. A training step frees
    and requests the same gigabyte again and again, and the system fills each page of it with zeros first: a quarter of
    a step of MobileNetV3-Large and EfficientNet-B1 on a CPU. Blocks of 32 MiB and more still go back: keeping those as
    well would raise peak memory by a tenth instead of by 3 %, and save time for MobileNetV3-Large alone.

    Returns:
        False where the C library has no mallopt, as on macOS: nothing is changed there.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGE_BYTES) and mallopt(M_TRIM_THRESHOLD, NEVER))


def make_deterministic(threads: int) -> None:
    """Let equal inputs give equal bits, on the same kind of machine with the same number of threads.

    Call it before anything runs on a GPU: cuBLAS reads its workspace setting once. One and two threads differ in the
    last bits, hence the fixed number. PyTorch raises where an operation has no deterministic form; the backbones have
    none such. float32 convolutions on a GPU keep PyTorch's default, TF32 where the GPU has it. Source:
    https://docs.pytorch.org/docs/stable/notes/randomness.html
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    torch.use_deterministic_algorithms(True)
    # PyTorch would fill all new memory, to show who reads it unwritten: 3 to 8 % of a step, and more kernels on a GPU
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False


def derive_seed(purpose: str, *numbers: int) -> int:
    """Return a seed of 63 bits for one purpose ("weights", "order", "augment", "epoch") and, say, a seed and an epoch.

    No random stream runs along with the training: its state would depend on workers, batches and restarts. A seed made
    from (purpose, seed, epoch) is the same wherever it is needed. It is a hash, not a sum, so that seed 0 in epoch 1
    and seed 1 in epoch 0 have nothing in common.
    """
    text = "/".join([purpose, *map(str, numbers)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def derive_generator(purpose: str, *numbers: int) -> torch.Generator:
    """Return a generator on the CPU with that seed; its numbers are the same on every device."""
    return torch.Generator().manual_seed(derive_seed(purpose, *numbers))
