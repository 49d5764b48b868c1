"""How the C library hands out memory: kept for the next batch instead of given back to the system after each.

glibc asks the system for every block over some size and gives it back when it is freed. A training step frees and asks
for the same gigabyte again and again, and the system fills each page of it with zeros first: a quarter of a step of
MobileNetV3-Large on a CPU, a third of EfficientNet-B1's (tests/benchmarks/RESULTS.md). Peak memory grows by about a
tenth. Source of the parameters: https://man7.org/linux/man-pages/man3/mallopt.3.html
"""

import ctypes

M_TRIM_THRESHOLD = -1  # bytes free at the top of the heap before they are given back
M_MMAP_THRESHOLD = -3  # bytes of a block before it is asked from the system on its own
KEPT_BYTES = 2**31 - 1  # the largest value of mallopt, a C int


def keep_freed_memory() -> bool:
    """Let this process keep the memory it has freed; call it before the first large block.

    Returns:
        False where the C library has no mallopt, as on macOS: nothing is changed there.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(parameter, KEPT_BYTES) == 1 for parameter in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD))
