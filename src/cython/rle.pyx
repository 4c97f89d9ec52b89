"""Run-length encoded masks: runs, COCO's compressed string, and what can be computed from runs alone.

Runs count pixels in column-major order, alternately background and foreground, background first.
A list of N masks travels as flat uint32 runs with N + 1 int64 offsets. Every function that takes
runs from outside checks them before its loop: afterwards the runs of a mask sum to height * width.

Source: the COCO format as pycocotools 2.0.11 reads and writes it.
"""

import operator

import numpy as np

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

# ---------------------------------------------------------------- sizes and strings


def image_size(op, height, width):
    """(height, width) as ints; TypeError unless whole, ValueError unless 0 <= h * w < 2^32."""
    try:
        h, w = operator.index(height), operator.index(width)
    except TypeError:
        raise TypeError(f"{op}: height and width must be whole numbers, "
                        f"got {height!r} and {width!r}") from None
    if h < 0 or w < 0:
        raise ValueError(f"{op}: height and width must not be negative, got {h} and {w}")
    if h * w >= 1 << 32 or h >= 1 << 32 or w >= 1 << 32:
        raise ValueError(f"{op}: height * width must be below 2^32, got {h} * {w}")
    return h, w


cdef enum Fault:
    NO_FAULT, BAD_CHARACTER, CUT_NUMBER, LONG_NUMBER, NEGATIVE_RUN, SUM_TOO_LARGE, SUM_TOO_SMALL


# 35 bits are what the difference of two 32-bit runs needs; pycocotools shifts no further either.
cdef enum:
    LONGEST = 7


cdef Py_ssize_t read_string(const uint8_t* text, Py_ssize_t length, int64_t pixels, uint32_t* runs,
                            Fault* fault, int64_t* culprit) noexcept nogil:
    """Number of runs written (room for length is enough); after a fault, what it was found at."""
    cdef Py_ssize_t i = 0, m = 0
    cdef int64_t x, left = pixels
    cdef int shift
    cdef unsigned int c
    while i < length:
        x = 0
        shift = 0
        while True:
            if i == length:
                fault[0] = CUT_NUMBER
                return m
            c = <unsigned int>text[i] - 48u
            if c > 63:
                fault[0] = BAD_CHARACTER
                culprit[0] = i
                return m
            if shift == 5 * LONGEST:
                fault[0] = LONG_NUMBER
                culprit[0] = i
                return m
            x |= <int64_t>(c & 31) << shift
            shift += 5
            i += 1
            if not c & 32:
                break
        if c & 16:
            x -= <int64_t>1 << shift
        if m > 2:
            x += runs[m - 2]
        if x < 0:
            fault[0] = NEGATIVE_RUN
            culprit[0] = x
            return m
        if x > left:
            fault[0] = SUM_TOO_LARGE
            return m
        left -= x
        runs[m] = <uint32_t>x
        m += 1
    if left > 0:
        fault[0] = SUM_TOO_SMALL
        culprit[0] = pixels - left
    return m


cdef raise_fault(op, bytes text, Fault fault, int64_t culprit, Py_ssize_t run, int64_t pixels):
    if fault == BAD_CHARACTER:
        raise ValueError(f"{op}: counts must hold characters 48..111 only, "
                         f"got {text[culprit]} at position {culprit}")
    if fault == CUT_NUMBER:
        raise ValueError(f"{op}: counts must hold whole numbers, got a string cut within run {run}")
    if fault == LONG_NUMBER:
        raise ValueError(f"{op}: counts must hold numbers of at most {<int>LONGEST} characters, "
                         f"got a longer one at position {culprit}")
    if fault == NEGATIVE_RUN:
        raise ValueError(f"{op}: runs must not be negative, got {culprit} as run {run}")
    if fault == SUM_TOO_LARGE:
        raise ValueError(f"{op}: runs must sum to height * width = {pixels}, "
                         f"got more with run {run}")
    raise ValueError(f"{op}: runs must sum to height * width = {pixels}, got a sum of {culprit}")


cdef listed_runs(op, counts, int64_t pixels):
    """Checked uint32 runs of an uncompressed RLE's list."""
    runs = np.asarray(counts)
    if runs.ndim != 1:
        raise ValueError(f"{op}: counts must be one-dimensional, got shape {runs.shape}")
    if runs.size == 0:
        runs = runs.astype(np.uint32)
    elif runs.dtype.kind not in "iu":
        if not all(isinstance(run, int) for run in runs.tolist()):
            raise TypeError(f"{op}: counts must be str, bytes or a list of whole numbers, "
                            f"got a list of {runs.dtype}")
    lowest, highest = (runs.min(), runs.max()) if runs.size else (0, 0)
    if lowest < 0:
        raise ValueError(f"{op}: runs must not be negative, got {lowest}")
    # Each run is compared first, so that the sum of int64 cannot wrap.
    total = int(runs.astype(np.int64).sum()) if highest <= pixels else "more"
    if total != pixels:
        raise ValueError(f"{op}: runs must sum to height * width = {pixels}, got {total}")
    return np.ascontiguousarray(runs, dtype=np.uint32)


cdef stored_counts(op, counts):
    """The string of an RLE as bytes, or None for a list of runs."""
    if isinstance(counts, bytes):
        return bytes(counts)
    if isinstance(counts, str):
        return counts.encode("utf-8", "surrogatepass")
    if isinstance(counts, (list, tuple, np.ndarray)):
        return None
    raise TypeError(f"{op}: counts must be str, bytes or a list of whole numbers, "
                    f"got {type(counts).__name__}")


def runs_of(rles, op):
    """Checked runs of a list of RLE dicts, compressed or not.

    Returns:
        counts: uint32, flat; offsets: int64 (N + 1,); sizes: int64 (N, 2), height and width.

    Raises:
        TypeError, ValueError: naming ``op`` and the rule (see ``roikit.masks.rle``).
    """
    cdef Py_ssize_t i, n = len(rles), used = 0, room = 0
    cdef Fault fault = NO_FAULT
    cdef int64_t culprit = 0, pixels
    cdef bytes text
    cdef uint32_t[::1] flat
    cdef uint32_t[::1] listed
    offsets_array = np.zeros(n + 1, np.int64)
    sizes_array = np.empty((n, 2), np.int64)
    cdef int64_t[::1] offsets = offsets_array
    cdef int64_t[:, ::1] sizes = sizes_array
    parts = []
    for i in range(n):
        rle = rles[i]
        if not isinstance(rle, dict):
            raise TypeError(f"{op}: an RLE must be a dict, got {type(rle).__name__}")
        if "size" not in rle or "counts" not in rle:
            raise ValueError(f"{op}: an RLE must have 'size' and 'counts', got {sorted(rle)}")
        size, counts = rle["size"], rle["counts"]
        if not isinstance(size, (list, tuple, np.ndarray)):
            raise TypeError(f"{op}: size must be (height, width), got {type(size).__name__}")
        if len(size) != 2:
            raise ValueError(f"{op}: size must be (height, width), got {size!r}")
        sizes[i, 0], sizes[i, 1] = image_size(op, size[0], size[1])
        part = stored_counts(op, counts)
        if part is None:
            part = listed_runs(op, counts, sizes[i, 0] * sizes[i, 1])
        room += len(part)
        parts.append(part)
    # A number has at least one character, so the characters bound the runs.
    flat_array = np.empty(max(room, 1), np.uint32)
    flat = flat_array
    for i in range(n):
        part = parts[i]
        if isinstance(part, bytes):
            text = part
            pixels = sizes[i, 0] * sizes[i, 1]
            room = read_string(<const uint8_t*>PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text),
                               pixels, &flat[0] + used, &fault, &culprit)
            if fault != NO_FAULT:
                raise_fault(op, text, fault, culprit, room, pixels)
            used += room
        elif len(part):
            listed = part
            memcpy(&flat[0] + used, &listed[0], listed.shape[0] * sizeof(uint32_t))
            used += listed.shape[0]
        offsets[i + 1] = used
    return flat_array[:used], offsets_array, sizes_array


def counts_of(rle, op="counts_of"):
    """Checked uint32 runs of one RLE dict, compressed or not; errors as ``runs_of``."""
    return runs_of([rle], op)[0]


def counts_from_string(counts, height, width):
    """Checked uint32 runs, summing to height * width, of one compressed string (bytes or str)."""
    if not isinstance(counts, (bytes, str)):
        raise TypeError(f"counts_from_string: counts must be bytes or str, "
                        f"got {type(counts).__name__}")
    return runs_of([{"size": (height, width), "counts": counts}], "counts_from_string")[0]


cdef Py_ssize_t write_string(const uint32_t* runs, Py_ssize_t n, char* text) noexcept nogil:
    """Number of characters written; room for LONGEST * n is enough."""
    cdef Py_ssize_t i, p = 0
    cdef int64_t x
    cdef int c
    for i in range(n):
        x = runs[i]
        if i > 2:
            x -= runs[i - 2]
        while True:
            c = x & 31
            x >>= 5
            if x == (-1 if c & 16 else 0):
                break
            text[p] = <char>(c + 80)
            p += 1
        text[p] = <char>(c + 48)
        p += 1
    return p


cdef check_offsets(op, Py_ssize_t size, const int64_t[::1] offsets):
    cdef Py_ssize_t i, n = offsets.shape[0] - 1
    if n < 0 or offsets[0] != 0 or offsets[n] != size:
        raise ValueError(f"{op}: offsets must go from 0 to the number of counts, {size}")
    for i in range(n):
        if offsets[i] > offsets[i + 1]:
            raise ValueError(f"{op}: offsets must not decrease, got {offsets[i]} before "
                             f"{offsets[i + 1]}")


def strings_from_counts(const uint32_t[::1] counts, const int64_t[::1] offsets):
    """COCO's compressed strings (bytes) of N masks; counts uint32 flat, offsets int64 (N + 1,)."""
    check_offsets("strings_from_counts", counts.shape[0], offsets)
    cdef Py_ssize_t i, n = offsets.shape[0] - 1, p = 0
    if counts.shape[0] == 0:
        return [b""] * n
    text_array = np.empty(LONGEST * counts.shape[0], np.uint8)
    cdef uint8_t[::1] text = text_array
    ends_array = np.empty(n, np.int64)
    cdef int64_t[::1] ends = ends_array
    with nogil:
        for i in range(n):
            p += write_string(&counts[0] + offsets[i], offsets[i + 1] - offsets[i],
                              <char*>&text[0] + p)
            ends[i] = p
    strings = []
    p = 0
    for i in range(n):
        strings.append(PyBytes_FromStringAndSize(<char*>&text[0] + p, ends[i] - p))
        p = ends[i]
    return strings


include "rle_bitmaps.pxi"
include "rle_measures.pxi"
