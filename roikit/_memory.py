"""The C library's freed memory: kept for what comes next, where the C library is glibc."""

import ctypes
import sys

__all__ = ["keep_freed_memory"]

# malloc.h of glibc
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory():
    """Have this process keep the memory that it frees, instead of giving it back to the system each time.

    By default glibc takes each block of 32 MB or more from the system and gives it back when it is freed, and so it
    does with what is free at the end of its heap. The system clears such memory page by page when it is next touched:
    of a network's forward pass that may be a third of the time. Afterwards such blocks come out of the heap (mallopt:
    M_MMAP_MAX 0), and the heap does not shrink (M_TRIM_THRESHOLD without a limit).

    What it costs: the process holds the most memory that it ever used until it ends, and other processes cannot have
    it. A heap may hold free memory that is too scattered for a large block, so that the most may grow. Blocks that
    must be zero are cleared by the call that asks for them. It holds for the whole process and for what it forks from
    then on, and is not taken back; ``malloc_trim`` of the C library gives back once what is free.

    The commands train, eval, predict, export and bench of `roikit` call it when they start; importing roikit does not.
    Call it early: memory that was taken before is given back as before.

    Returns:
        True where the memory is kept. False where nothing was done, because blocks do not come from glibc: on Windows
        and macOS, with another C library (musl), or with an allocator put before it (jemalloc, tcmalloc).
    """
    libc = _glibc()
    return libc is not None and bool(libc.mallopt(_M_MMAP_MAX, 0)) and bool(libc.mallopt(_M_TRIM_THRESHOLD, -1))


def _glibc():
    """glibc, where this process has its memory from it; else None."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        own, libc = ctypes.CDLL(None), ctypes.CDLL("libc.so.6")
        libc.gnu_get_libc_version  # noqa: B018  (musl may answer to the name of glibc)
        # An allocator that was loaded before glibc's answers for the whole process.
        addresses = {ctypes.cast(library.malloc, ctypes.c_void_p).value for library in (own, libc)}
    except (OSError, AttributeError):
        return None
    return libc if len(addresses) == 1 else None
