"""Lets the process keep the memory that it has freed.

glibc gives large blocks back to the kernel at once, and asks for them again at the next layer: every step of a fit then pays
for clearing the same pages.
"""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # <malloc.h>
NEVER = 2**31 - 1


def keep_memory() -> bool:
    """Whether there is such an allocator: glibc's, on Linux."""
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return bool(mallopt and mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, NEVER))
