# Bitmaps to runs and back; included by rle.pyx.

cdef struct Buffer:
    uint32_t* data
    Py_ssize_t size
    Py_ssize_t room


cdef inline bint push(Buffer* buffer, int64_t value) noexcept nogil:
    """False when memory is out."""
    cdef uint32_t* grown
    cdef Py_ssize_t room
    if buffer.size == buffer.room:
        room = 2 * buffer.room + 256
        grown = <uint32_t*>realloc(buffer.data, room * sizeof(uint32_t))
        if grown == NULL:
            return False
        buffer.data = grown
        buffer.room = room
    buffer.data[buffer.size] = <uint32_t>value
    buffer.size += 1
    return True


cdef inline uint64_t word(const uint8_t* p) noexcept nogil:
    cdef uint64_t value
    memcpy(&value, p, 8)
    return value


cdef inline Py_ssize_t skip_value(const uint8_t* p, Py_ssize_t i, Py_ssize_t end,
                                  uint8_t value) noexcept nogil:
    """The first place from i on that does not hold value; end if none."""
    cdef uint64_t w = value * <uint64_t>0x0101010101010101u
    # One word first: in noisy masks most runs end within it.
    if i + 8 <= end and word(p + i) == w:
        i += 8
        while i + 64 <= end and ((word(p + i) ^ w) | (word(p + i + 8) ^ w) | (word(p + i + 16) ^ w)
                                 | (word(p + i + 24) ^ w) | (word(p + i + 32) ^ w)
                                 | (word(p + i + 40) ^ w) | (word(p + i + 48) ^ w)
                                 | (word(p + i + 56) ^ w)) == 0:
            i += 64
        while i + 8 <= end and word(p + i) == w:
            i += 8
    while i < end and p[i] == value:
        i += 1
    return i


cdef bint scan_columns(const uint8_t* base, Py_ssize_t length, Py_ssize_t columns,
                       Py_ssize_t stride, Buffer* runs) noexcept nogil:
    """Appends the runs of `columns` pieces of `length` bytes, `stride` apart."""
    cdef Py_ssize_t c, i
    cdef int64_t before = 0, start = 0
    cdef const uint8_t* p
    cdef uint8_t value = 0
    for c in range(columns):
        p = base + c * stride
        i = skip_value(p, 0, length, value)
        while i < length:
            if (p[i] != 0) != (value != 0):
                if not push(runs, before + i - start):
                    return False
                start = before + i
            value = p[i]
            i = skip_value(p, i + 1, length, value)
        before += length
    return push(runs, before - start)


cdef bint scan_rows(const uint8_t* base, Py_ssize_t rows, Py_ssize_t length, Py_ssize_t stride,
                    Buffer* changes, int64_t* row_ends, int64_t* totals) noexcept nogil:
    """Where each row differs from the row above: columns in `changes`, row r's up to row_ends[r].

    totals[j] counts the changes of column j.
    """
    cdef Py_ssize_t r, i, j, end
    cdef const uint8_t* upper
    cdef const uint8_t* lower
    memset(totals, 0, length * sizeof(int64_t))
    row_ends[0] = 0
    for r in range(1, rows):
        upper = base + (r - 1) * stride
        lower = upper + stride
        i = 0
        while i < length:
            while i + 64 <= length and ((word(upper + i) ^ word(lower + i))
                                        | (word(upper + i + 8) ^ word(lower + i + 8))
                                        | (word(upper + i + 16) ^ word(lower + i + 16))
                                        | (word(upper + i + 24) ^ word(lower + i + 24))
                                        | (word(upper + i + 32) ^ word(lower + i + 32))
                                        | (word(upper + i + 40) ^ word(lower + i + 40))
                                        | (word(upper + i + 48) ^ word(lower + i + 48))
                                        | (word(upper + i + 56) ^ word(lower + i + 56))) == 0:
                i += 64
            end = i + 64 if i + 64 < length else length
            while i < end:
                if i + 8 <= end and word(upper + i) == word(lower + i):
                    i += 8
                    continue
                for j in range(i, i + 8 if i + 8 < end else end):
                    if (upper[j] != 0) != (lower[j] != 0):
                        if not push(changes, j):
                            return False
                        totals[j] += 1
                i += 8
        row_ends[r] = changes.size
    return True


cdef void by_column(const Buffer* changes, Py_ssize_t rows, Py_ssize_t length,
                    const int64_t* row_ends, int64_t* totals, uint32_t* sorted_rows) noexcept nogil:
    """Counting sort of the changes by column; totals[j] becomes the end of column j's rows."""
    cdef Py_ssize_t r, i, j
    cdef int64_t start = 0, count
    for j in range(length):
        count = totals[j]
        totals[j] = start
        start += count
    for r in range(1, rows):
        for i in range(row_ends[r - 1], row_ends[r]):
            j = changes.data[i]
            sorted_rows[totals[j]] = <uint32_t>r
            totals[j] += 1


cdef bint runs_by_column(const uint8_t* base, Py_ssize_t rows, Py_ssize_t columns,
                         Py_ssize_t stride, Py_ssize_t step, Py_ssize_t first,
                         const int64_t* ends, const uint32_t* sorted_rows,
                         Buffer* runs) noexcept nogil:
    """Appends the runs of the mask that has every step-th byte of a row from `first` on."""
    cdef Py_ssize_t c, i, j
    cdef int64_t start = 0, place
    cdef bint previous = False, top
    cdef const uint8_t* last_row = base + (rows - 1) * stride
    for c in range(columns):
        j = first + c * step
        top = base[j] != 0
        place = c * rows
        if top != previous:
            if not push(runs, place - start):
                return False
            start = place
        for i in range(ends[j - 1] if j > 0 else 0, ends[j]):
            if not push(runs, place + sorted_rows[i] - start):
                return False
            start = place + sorted_rows[i]
        previous = last_row[j] != 0
    return push(runs, columns * rows - start)


cdef bint encode_rows(const uint8_t* base, Py_ssize_t h, Py_ssize_t w, Py_ssize_t masks,
                      Py_ssize_t stride, Buffer* changes, Buffer* sorted_rows, int64_t* row_ends,
                      int64_t* totals, Buffer* runs, int64_t* offsets) noexcept nogil:
    """Runs of `masks` masks whose bytes alternate within rows of w * masks bytes."""
    cdef Py_ssize_t k
    cdef uint32_t* grown
    changes.size = 0
    if not scan_rows(base, h, w * masks, stride, changes, row_ends, totals):
        return False
    if sorted_rows.room < changes.size:
        grown = <uint32_t*>realloc(sorted_rows.data, changes.room * sizeof(uint32_t))
        if grown == NULL:
            return False
        sorted_rows.data = grown
        sorted_rows.room = changes.room
    by_column(changes, h, w * masks, row_ends, totals, sorted_rows.data)
    for k in range(masks):
        if not runs_by_column(base, h, w, stride, masks, k, totals, sorted_rows.data, runs):
            return False
        offsets[k + 1] = runs.size
    return True


def runs_of_bitmaps(const uint8_t[:, :, :] masks):
    """Runs of N bitmaps (H, W, N) in any memory order; not 0 is foreground.

    Column-major masks are read straight through. Row-major ones are read row by row: a change of
    value from one row to the next is found 64 bytes at a time, and a counting sort by column puts
    the few changes in order, so that nothing is copied or transposed.

    Returns:
        counts: uint32, flat; offsets: int64 (N + 1,).
    """
    cdef Py_ssize_t h = masks.shape[0], w = masks.shape[1], n = masks.shape[2], k
    cdef Py_ssize_t sh = masks.strides[0], sw = masks.strides[1], sn = masks.strides[2]
    offsets_array = np.zeros(n + 1, np.int64)
    if h == 0 or w == 0 or n == 0:
        offsets_array[:] = np.arange(n + 1)
        return np.zeros(n, np.uint32), offsets_array
    cdef bint in_columns = sh == 1 or h == 1
    cdef bint in_rows = sw == 1 or w == 1
    cdef bint alternating = sn == 1 and sw == n
    if not (in_columns or in_rows or alternating):
        stacked = np.ascontiguousarray(np.asarray(masks).transpose(2, 0, 1))
        return runs_of_bitmaps(stacked.transpose(1, 2, 0))
    cdef int64_t[::1] offsets = offsets_array
    cdef Py_ssize_t length = 0 if in_columns else (w if in_rows else w * n)
    cdef int64_t[::1] totals = np.empty(length + 1, np.int64)
    cdef int64_t[::1] row_ends = np.empty(h, np.int64)
    cdef Buffer runs = Buffer(NULL, 0, 0)
    cdef Buffer changes = Buffer(NULL, 0, 0)
    cdef Buffer sorted_rows = Buffer(NULL, 0, 0)
    cdef const uint8_t* base = &masks[0, 0, 0]
    cdef bint enough = True
    try:
        with nogil:
            if in_columns:
                for k in range(n):
                    if sw == h or w == 1:
                        enough = enough and scan_columns(base + k * sn, h * w, 1, 0, &runs)
                    else:
                        enough = enough and scan_columns(base + k * sn, h, w, sw, &runs)
                    offsets[k + 1] = runs.size
            elif in_rows:
                for k in range(n):
                    enough = enough and encode_rows(base + k * sn, h, w, 1, sh, &changes,
                                                    &sorted_rows, &row_ends[0], &totals[0], &runs,
                                                    &offsets[k])
            else:
                enough = encode_rows(base, h, w, n, sh, &changes, &sorted_rows, &row_ends[0],
                                     &totals[0], &runs, &offsets[0])
        if not enough:
            raise MemoryError("encode: no memory for the runs")
        counts_array = np.empty(runs.size, np.uint32)
        copy_runs(runs.data, runs.size, counts_array)
    finally:
        free(runs.data)
        free(changes.data)
        free(sorted_rows.data)
    return counts_array, offsets_array


cdef copy_runs(const uint32_t* runs, Py_ssize_t n, uint32_t[::1] out):
    if n:
        memcpy(&out[0], runs, n * sizeof(uint32_t))


def bitmaps_of_runs(const uint32_t[::1] counts, const int64_t[::1] offsets, Py_ssize_t height,
                    Py_ssize_t width):
    """uint8 (N, width, height) of checked runs; foreground is 1. Column-major images, that is."""
    cdef Py_ssize_t i, j, n = offsets.shape[0] - 1
    cdef int64_t place
    # Zeroed memory comes from the system untouched, so only foreground is ever written.
    out_array = np.zeros((n, width, height), np.uint8)
    if out_array.size == 0:
        return out_array
    cdef uint8_t[:, :, ::1] out = out_array
    with nogil:
        for i in range(n):
            place = 0
            for j in range(offsets[i], offsets[i + 1] - 1, 2):
                place += counts[j]
                memset(&out[i, 0, 0] + place, 1, counts[j + 1])
                place += counts[j + 1]
    return out_array
