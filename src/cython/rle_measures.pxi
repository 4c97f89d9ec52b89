# What can be computed from runs alone; included by rle.pyx.

def areas_of_runs(const uint32_t[::1] counts, const int64_t[::1] offsets):
    """Foreground pixels of each mask, uint32 (N,)."""
    cdef Py_ssize_t i, j, n = offsets.shape[0] - 1
    areas_array = np.zeros(n, np.uint32)
    cdef uint32_t[::1] areas = areas_array
    for i in range(n):
        for j in range(offsets[i] + 1, offsets[i + 1], 2):
            areas[i] += counts[j]
    return areas_array


cdef struct Extent:  # of the foreground; right and bottom are outside it, all 0 when there is none
    int64_t left, top, right, bottom


cdef Extent extent_of(const uint32_t* runs, Py_ssize_t n, uint32_t h) noexcept nogil:
    cdef Extent box = Extent(-1, -1, 0, 0)
    cdef Py_ssize_t j
    cdef uint32_t start, last, first_column, last_column
    cdef int64_t place = 0, top, bottom
    for j in range(1, n, 2):
        place += runs[j - 1]
        if runs[j] == 0:
            continue
        start = <uint32_t>place
        place += runs[j]
        last = <uint32_t>(place - 1)
        first_column = start // h
        last_column = last // h
        if first_column == last_column:
            top = start - first_column * h
            bottom = last - last_column * h + 1
        else:
            top = 0
            bottom = h
        if box.left < 0:
            box.left = first_column
            box.top = top
        box.top = min(box.top, top)
        box.right = <int64_t>last_column + 1
        box.bottom = max(box.bottom, bottom)
    if box.left < 0:
        return Extent(0, 0, 0, 0)
    return box


def boxes_of_runs(const uint32_t[::1] counts, const int64_t[::1] offsets,
                  const int64_t[:, ::1] sizes):
    """float64 (N, 4), x y width height in pixels; zeros for a mask without foreground."""
    cdef Py_ssize_t i, n = offsets.shape[0] - 1
    boxes_array = np.zeros((n, 4), np.float64)
    cdef double[:, ::1] boxes = boxes_array
    cdef Extent box
    for i in range(n):
        if offsets[i + 1] - offsets[i] > 1:
            box = extent_of(&counts[offsets[i]], offsets[i + 1] - offsets[i],
                            <uint32_t>sizes[i, 0])
            boxes[i, 0] = box.left
            boxes[i, 1] = box.top
            boxes[i, 2] = box.right - box.left
            boxes[i, 3] = box.bottom - box.top
    return boxes_array


cdef int64_t overlap(const uint32_t* a, Py_ssize_t na, const uint32_t* b,
                     Py_ssize_t nb) noexcept nogil:
    """Common foreground pixels; a, b: places where runs end, so [a[2i], a[2i + 1]) is foreground."""
    cdef Py_ssize_t i = first_after(a, na, b[0]), j = first_after(b, nb, a[0])
    cdef int64_t common = 0, low, high
    while i + 1 < na and j + 1 < nb:
        low = a[i] if a[i] > b[j] else b[j]
        high = a[i + 1] if a[i + 1] < b[j + 1] else b[j + 1]
        common += high - low if high > low else 0
        if a[i + 1] < b[j + 1]:
            i += 2
        else:
            j += 2
    return common


cdef Py_ssize_t first_after(const uint32_t* ends, Py_ssize_t n, uint32_t place) noexcept nogil:
    """Index of the first foreground run that ends beyond place."""
    cdef Py_ssize_t low = 0, high = n // 2, middle
    while low < high:
        middle = (low + high) // 2
        if ends[2 * middle + 1] > place:
            high = middle
        else:
            low = middle + 1
    return 2 * low


cdef class Measured:
    """Masks prepared for IoU: where runs end, extents and areas."""
    cdef uint32_t[::1] ends
    cdef const int64_t[::1] offsets
    cdef int64_t[:, ::1] extents
    cdef int64_t[::1] areas

    def __init__(self, const uint32_t[::1] counts, const int64_t[::1] offsets,
                 const int64_t[:, ::1] sizes):
        cdef Py_ssize_t i, j, n = offsets.shape[0] - 1
        cdef int64_t place
        cdef Extent box
        self.offsets = offsets
        self.ends = np.empty(counts.shape[0], np.uint32)
        self.extents = np.zeros((n, 4), np.int64)
        self.areas = np.zeros(n, np.int64)
        for i in range(n):
            place = 0
            for j in range(offsets[i], offsets[i + 1]):
                place += counts[j]
                self.ends[j] = <uint32_t>place
                if (j - offsets[i]) & 1:
                    self.areas[i] += counts[j]
            if self.areas[i]:
                box = extent_of(&counts[offsets[i]], offsets[i + 1] - offsets[i],
                                <uint32_t>sizes[i, 0])
                self.extents[i, 0], self.extents[i, 1] = box.left, box.top
                self.extents[i, 2], self.extents[i, 3] = box.right, box.bottom


cdef inline double iou_of_two_runs(Measured dt, Py_ssize_t d, Measured gt, Py_ssize_t g, bint crowd) noexcept nogil:
    cdef int64_t common, whole
    if (gt.areas[g] == 0 or dt.areas[d] == 0 or dt.extents[d, 0] >= gt.extents[g, 2]
            or gt.extents[g, 0] >= dt.extents[d, 2] or dt.extents[d, 1] >= gt.extents[g, 3]
            or gt.extents[g, 1] >= dt.extents[d, 3]):
        return 0
    common = overlap(&dt.ends[dt.offsets[d]], dt.offsets[d + 1] - dt.offsets[d],
                     &gt.ends[gt.offsets[g]], gt.offsets[g + 1] - gt.offsets[g])
    whole = dt.areas[d] if crowd else dt.areas[d] + gt.areas[g] - common
    return <double>common / <double>whole


cdef inline double iou_of_two_boxes(const double* dt, const double* gt, bint crowd) noexcept nogil:
    """Of finite boxes x y width height."""
    cdef double w = min(dt[2] + dt[0], gt[2] + gt[0]) - max(dt[0], gt[0])
    cdef double h = min(dt[3] + dt[1], gt[3] + gt[1]) - max(dt[1], gt[1])
    cdef double common, whole, area
    if w <= 0 or h <= 0:
        return 0
    common = w * h
    area = dt[2] * dt[3]
    whole = area if crowd else area + gt[2] * gt[3] - common
    # A union that underflows to 0 or overflows is no ratio; pycocotools gives NaN.
    return common / whole if whole > 0 and common / whole >= 0 else 0


def iou_of_runs(Measured dt, Measured gt, const uint8_t[::1] crowd):
    """float64 (M, N), column-major, of M detections and N ground truths of one image size.

    Intersection over union; over the detection's area where the ground truth is a crowd.
    """
    cdef Py_ssize_t d, g, m = dt.areas.shape[0], n = gt.areas.shape[0]
    iou_array = np.zeros((n, m), np.float64)
    cdef double[:, ::1] iou = iou_array
    with nogil:
        for g in range(n):
            for d in range(m):
                iou[g, d] = iou_of_two_runs(dt, d, gt, g, crowd[g])
    return iou_array.T


def iou_of_boxes(const double[:, ::1] dt, const double[:, ::1] gt, const uint8_t[::1] crowd):
    """float64 (M, N), column-major, of boxes x y width height; 0 for a box that is not finite."""
    cdef Py_ssize_t d, g, m = dt.shape[0], n = gt.shape[0]
    iou_array = np.zeros((n, m), np.float64)
    cdef double[:, ::1] iou = iou_array
    cdef const uint8_t[::1] dt_finite = np.isfinite(dt).all(1).view(np.uint8)
    cdef const uint8_t[::1] gt_finite = np.isfinite(gt).all(1).view(np.uint8)
    with nogil:
        for g in range(n):
            for d in range(m):
                if dt_finite[d] and gt_finite[g]:
                    iou[g, d] = iou_of_two_boxes(&dt[d, 0], &gt[g, 0], crowd[g])
    return iou_array.T


def iou_of_groups(dt, gt, const uint8_t[::1] crowd, const int64_t[::1] dt_starts, const int64_t[::1] gt_starts,
                  const int64_t[::1] dt_rows, const int64_t[::1] gt_rows):
    """Flat float64, of each group a matrix (M_p, N_p), row-major, one after the other.

    dt and gt are both Measured or both float64 boxes (M, 4). Group p has the places starts[p] to starts[p + 1], which
    ascend, and at each place stands the mask or box of that row; crowd has a flag for each place.
    """
    cdef Py_ssize_t p, d, g, groups = dt_starts.shape[0] - 1, used = 0
    cdef bint masks = isinstance(dt, Measured)
    cdef Measured found, known
    cdef const double[:, ::1] boxes, others
    cdef const uint8_t[::1] finite, other_finite
    for p in range(groups):
        used += (dt_starts[p + 1] - dt_starts[p]) * (gt_starts[p + 1] - gt_starts[p])
    iou_array = np.zeros(used, np.float64)
    cdef double[::1] iou = iou_array
    if masks:
        found, known = dt, gt
    else:
        boxes, others = dt, gt
        finite, other_finite = np.isfinite(dt).all(1).view(np.uint8), np.isfinite(gt).all(1).view(np.uint8)
    used = 0
    with nogil:
        for p in range(groups):
            for d in range(dt_starts[p], dt_starts[p + 1]):
                for g in range(gt_starts[p], gt_starts[p + 1]):
                    if masks:
                        iou[used] = iou_of_two_runs(found, dt_rows[d], known, gt_rows[g], crowd[g])
                    elif finite[dt_rows[d]] and other_finite[gt_rows[g]]:
                        iou[used] = iou_of_two_boxes(&boxes[dt_rows[d], 0], &others[gt_rows[g], 0], crowd[g])
                    used += 1
    return iou_array


# ---------------------------------------------------------------- merging


cdef Py_ssize_t merge_two(const uint32_t* a, Py_ssize_t na, const uint32_t* b, Py_ssize_t nb,
                          int64_t pixels, bint intersect, uint32_t* out) noexcept nogil:
    """Number of runs written to out (room for na + nb + 1), which overlaps neither input."""
    cdef int64_t left = pixels, run = 0, step
    cdef int64_t run_a = a[0] if na else 0, run_b = b[0] if nb else 0
    cdef Py_ssize_t i = 1, j = 1, m = 0
    cdef bint value_a = False, value_b = False, value = False, before
    while True:
        step = run_a if run_a < run_b else run_b
        run += step
        left -= step
        run_a -= step
        run_b -= step
        if run_a == 0 and i < na:
            run_a = a[i]
            i += 1
            value_a = not value_a
        if run_b == 0 and j < nb:
            run_b = b[j]
            j += 1
            value_b = not value_b
        if left == 0:
            out[m] = <uint32_t>run
            return m + 1
        before = value
        value = (value_a and value_b) if intersect else (value_a or value_b)
        if value != before:
            out[m] = <uint32_t>run
            m += 1
            run = 0


cdef bint has_inner_zero(const uint32_t[::1] counts, const int64_t[::1] offsets) noexcept nogil:
    cdef Py_ssize_t i, j
    for i in range(offsets.shape[0] - 1):
        for j in range(offsets[i] + 1, offsets[i + 1]):
            if counts[j] == 0:
                return True
    return False


def merge_runs(const uint32_t[::1] counts, const int64_t[::1] offsets, int64_t pixels,
               bint intersect):
    """uint32 runs of the union or intersection of N >= 1 masks of `pixels` pixels each.

    Neighbours are merged in pairs, then the pairs, and so on; this gives the same runs as one
    after the other. Only where an input has runs of length 0 beside its first can these show in
    the result and depend on the order, which is then pycocotools': one after the other.
    """
    cdef Py_ssize_t n = offsets.shape[0] - 1, i, k, used = 0
    if n == 1 or counts.shape[0] == 0:
        return np.array(counts[:offsets[1]])
    cdef Py_ssize_t room = counts.shape[0] + n
    # What came in stays as it is; two flat lists of runs take turns.
    cdef int64_t* bounds = <int64_t*>malloc((n + 1) * sizeof(int64_t)
                                            + 2 * room * sizeof(uint32_t))
    if bounds == NULL:
        raise MemoryError("merge: no memory for the runs")
    cdef uint32_t* first = <uint32_t*>(bounds + n + 1)
    cdef uint32_t* second = first + room
    cdef const uint32_t* source = &counts[0]
    cdef uint32_t* target = first
    with nogil:
        memcpy(bounds, &offsets[0], (n + 1) * sizeof(int64_t))
        if has_inner_zero(counts, offsets):
            used = bounds[1]
            for i in range(1, n):
                used = merge_two(source, used, &counts[0] + bounds[i], bounds[i + 1] - bounds[i],
                                 pixels, intersect, target)
                source = target
                target = second if target == first else first
        else:
            while n > 1:
                used = 0
                for k in range((n + 1) // 2):
                    i = 2 * k
                    if i + 1 < n:
                        i = merge_two(source + bounds[i], bounds[i + 1] - bounds[i],
                                      source + bounds[i + 1], bounds[i + 2] - bounds[i + 1],
                                      pixels, intersect, target + used)
                    else:
                        memcpy(target + used, source + bounds[i],
                               (bounds[i + 1] - bounds[i]) * sizeof(uint32_t))
                        i = bounds[i + 1] - bounds[i]
                    # Pair k was read from 2k on, so bounds[k] is no longer needed.
                    bounds[k] = used
                    used += i
                n = (n + 1) // 2
                bounds[n] = used
                source = target
                target = second if target == first else first
    try:
        merged = np.empty(used, np.uint32)
        copy_runs(source, used, merged)
    finally:
        free(bounds)
    return merged
