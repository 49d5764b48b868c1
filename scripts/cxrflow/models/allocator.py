"""How the C library hands out memory: kept for the next batch instead of given back to the system after each.

glibc asks the system for every block over some size and gives it back when it is freed. A training step frees and asks
for the same gigabyte again and again, and the system fills each page of it with zeros first: a quarter of a step of
MobileNetV3-Large and EfficientNet-B1 on a CPU. Blocks of 32 MiB and more still go back: with those kept as well, peak
memory grows by a tenth instead of by 3 %, for a tenth of MobileNetV3-Large's time and nothing of the others'.
Source of the parameters: https://man7.org/linux/man-pages/man3/mallopt.3.html
"""

import ctypes

M_TRIM_THRESHOLD = -1  # bytes free at the top of the heap before they are given back
M_MMAP_THRESHOLD = -3  # bytes of a block before it is asked from the system on its own, and given back when freed
LARGE_BYTES = 2**25  # the most that every glibc takes for M_MMAP_THRESHOLD
NEVER = 2**31 - 1  # the largest C int


def keep_freed_memory() -> bool:
    """Let this process keep what it frees; call it before the first large block.

    Returns:
        False where the C library has no mallopt, as on macOS: nothing is changed there.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGE_BYTES) and mallopt(M_TRIM_THRESHOLD, NEVER))
