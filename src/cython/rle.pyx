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
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

# ---------------------------------------------------------------- sizes and strings

# Pixels of an image and of a side stay below this, so that every place fits a uint32.
cdef uint64_t LIMIT = <uint64_t>1 << 32


def image_size(op, height, width):
    """(height, width) as ints; TypeError unless whole, ValueError unless 0 <= h * w < 2^32."""
    cdef uint64_t high, wide
    if type(height) is int and type(width) is int and 0 <= height < LIMIT and 0 <= width < LIMIT:
        high, wide = height, width
        if high * wide < LIMIT:
            return height, width
    try:
        h, w = operator.index(height), operator.index(width)
    except TypeError:
        raise TypeError(f"{op}: height and width must be whole numbers, "
                        f"got {height!r} and {width!r}") from None
    if h < 0 or w < 0:
        raise ValueError(f"{op}: height and width must not be negative, got {h} and {w}")
    if h * w >= LIMIT or h >= LIMIT or w >= LIMIT:
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


cdef Py_ssize_t read_list(op, counts, int64_t pixels, uint32_t* runs) except -1:
    """Number of runs of an uncompressed RLE's list or tuple, written to runs (room for all)."""
    cdef Py_ssize_t m = 0, too_much = -1
    cdef int64_t left = pixels, run
    for item in counts:
        if type(item) is not int:
            try:
                item = operator.index(item)
            except TypeError:
                raise TypeError(f"{op}: counts must be str, bytes or a list of whole numbers, got "
                                f"{type(item).__name__} as run {m}") from None
        if item < 0:
            raise ValueError(f"{op}: runs must not be negative, got {item} as run {m}")
        if too_much < 0 and item <= left:
            run = item
            left -= run
            runs[m] = <uint32_t>run
        elif too_much < 0:
            too_much = m  # a negative run further on is the better explanation
        m += 1
    if too_much >= 0:
        raise ValueError(f"{op}: runs must sum to height * width = {pixels}, "
                         f"got more with run {too_much}")
    if left:
        raise ValueError(f"{op}: runs must sum to height * width = {pixels}, "
                         f"got a sum of {pixels - left}")
    return m


cdef stored_counts(op, counts):
    """The runs as they are written: bytes of a compressed RLE, a list or tuple of runs otherwise."""
    if isinstance(counts, (bytes, list, tuple)):
        return counts
    if isinstance(counts, str):
        return counts.encode("utf-8", "surrogatepass")
    if isinstance(counts, np.ndarray):
        if counts.ndim != 1:
            raise ValueError(f"{op}: counts must be one-dimensional, got shape {counts.shape}")
        return counts.tolist()
    raise TypeError(f"{op}: counts must be str, bytes or a list of whole numbers, "
                    f"got {type(counts).__name__}")


cdef int store_size(op, size, int64_t* stored) except -1:
    """Writes height and width, checked."""
    if not isinstance(size, (list, tuple, np.ndarray)):
        raise TypeError(f"{op}: size must be (height, width), got {type(size).__name__}")
    if len(size) != 2:
        raise ValueError(f"{op}: size must be (height, width), got {size!r}")
    stored[0], stored[1] = image_size(op, size[0], size[1])
    return 0


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
    offsets_array = np.zeros(n + 1, np.int64)
    sizes_array = np.empty((n, 2), np.int64)
    cdef int64_t[::1] offsets = offsets_array
    cdef int64_t[:, ::1] sizes = sizes_array
    cdef list parts = []
    for i in range(n):
        rle = rles[i]
        if not isinstance(rle, dict):
            raise TypeError(f"{op}: an RLE must be a dict, got {type(rle).__name__}")
        if "size" not in rle or "counts" not in rle:
            raise ValueError(f"{op}: an RLE must have 'size' and 'counts', got {list(rle)}")
        store_size(op, rle["size"], &sizes[i, 0])
        part = stored_counts(op, rle["counts"])
        room += len(part)
        parts.append(part)
    # A number has at least one character, so the characters bound the runs.
    flat_array = np.empty(room + 1, np.uint32)
    cdef uint32_t[::1] flat = flat_array
    for i in range(n):
        part = parts[i]
        pixels = sizes[i, 0] * sizes[i, 1]
        if isinstance(part, bytes):
            text = part
            room = read_string(<const uint8_t*>PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text),
                               pixels, &flat[used], &fault, &culprit)
            if fault != NO_FAULT:
                raise_fault(op, text, fault, culprit, room, pixels)
        else:
            room = read_list(op, part, pixels, &flat[used])
        used += room
        offsets[i + 1] = used
    return flat_array[:used], offsets_array, sizes_array


def one_size(op, const int64_t[:, ::1] sizes):
    """(height, width) of all masks, (0, 0) of none; ValueError if they differ."""
    cdef Py_ssize_t i
    if sizes.shape[0] == 0:
        return 0, 0
    for i in range(1, sizes.shape[0]):
        if sizes[i, 0] != sizes[0, 0] or sizes[i, 1] != sizes[0, 1]:
            raise ValueError(f"{op}: all masks must have one size, got "
                             f"{[sizes[0, 0], sizes[0, 1]]} and {[sizes[i, 0], sizes[i, 1]]}")
    return sizes[0, 0], sizes[0, 1]


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


def string_from_counts(const uint32_t[::1] counts):
    """COCO's compressed string (bytes) of one mask."""
    cdef Py_ssize_t n = counts.shape[0]
    if n == 0:
        return b""
    cdef char* text = <char*>malloc(LONGEST * n)
    if text == NULL:
        raise MemoryError("string_from_counts: no memory for the string")
    try:
        return PyBytes_FromStringAndSize(text, write_string(&counts[0], n, text))
    finally:
        free(text)


include "rle_bitmaps.pxi"
include "rle_measures.pxi"
