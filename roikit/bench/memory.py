"""How much memory a call takes beyond its inputs and its result, on the host."""

import ctypes
import gc
from contextlib import suppress

__all__ = ["extra_memory", "resident"]


def resident():
    """Bytes of this process that are in memory now, and the most there have been since `_reset`; None without /proc."""
    try:
        with open("/proc/self/status") as file:
            fields = dict(line.split(":", 1) for line in file)
        return tuple(1024 * int(fields[name].split()[0]) for name in ("VmRSS", "VmHWM"))
    except (OSError, KeyError):
        return None


def _reset():
    """Lets the peak begin anew at what is resident now; False where the system cannot do that."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        return True
    except OSError:
        return False


def _give_back():
    """Has the C library return its free blocks, so that a call cannot hide its scratch in them."""
    gc.collect()
    with suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)


def extra_memory(call, size_of_result):
    """(bytes beyond the inputs and the result, the result) of ``call()``.

    The peak of the process's resident memory during the call, less what was resident before and less the result's
    pages. The system keeps that peak; it is set back before the call, so what made the inputs does not count, as it
    would in `ru_maxrss`. Free blocks of the C library are given back first. A result of zeroed pages that nobody
    touched counts as far as it is resident. Pages of files count, so the code that a first call loads does too: warm
    up. The system counts pages in batches; differences under 1 MB mean nothing.

    Args:
        call: takes nothing; it must not free what was allocated before.
        size_of_result: result -> its bytes.

    Returns:
        None for the bytes where the system cannot set the peak back (it needs Linux's /proc).
    """
    _give_back()
    before = resident()
    known = before is not None and _reset()
    result = call()
    if not known:
        return None, result
    peak = resident()[1]
    _give_back()
    left = resident()[0] - before[0]
    return max(0, peak - before[0] - max(0, min(size_of_result(result), left))), result
