"""Keeps the process small: gives memory back to the system that large images, and the loading of the model, took for a moment.

Without this, glibc keeps it: each thread has an arena of its own, and what was once a large block is later cut from the heap.
A few PNG of 5 megapixels then cost a third more memory for good. It makes such PNG a little slower, since the kernel clears
what it hands out again."""

import ctypes
import gc
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # <malloc.h>
LARGE_BYTES = 1_000_000  # above the size of a JPEG's pixels, which are needed again and again


def prepare() -> None:
    """To be called before anything is loaded. Sets the allocator, where it is glibc's. Stops the collector until `settle`: what
    is loaded stays, and looking at it again and again takes a tenth of the start."""
    gc.disable()
    if mallopt := _from_glibc("mallopt"):
        mallopt(M_ARENA_MAX, 1)
        mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(M_TRIM_THRESHOLD, LARGE_BYTES)


def settle() -> None:
    """To be called when all is loaded that stays. The collector then need not look at it, nor write to its pages, which
    processes share."""
    gc.freeze()
    gc.enable()
    if trim := _from_glibc("malloc_trim"):
        trim(0)


def _from_glibc(name: str) -> "ctypes._NamedFuncPointer | None":
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
