# distutils: extra_compile_args = -ffp-contract=off
"""Polygons to runs, by COCO's rule: the outline is drawn five times finer and crossings are counted.

The rule walks every point of the refined outline. Only the steps from 5k + 2 to 5k + 3 in x can
change column k, so here those steps are computed directly: time and memory follow the columns
that the polygon crosses inside the image, whatever its coordinates are.

Source: the rasteriser of pycocotools 2.0.11; the arithmetic per step is the same, in double.
"""

import numpy as np

from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport qsort

from roikit._rle import image_size, merge_runs

# Beyond five times the largest side there is nothing to draw; doubles are exact up to here.
cdef double FARTHEST = 34359738368.0  # 2^35


cdef inline int64_t refined(double coordinate) noexcept nogil:
    """The coordinate on the refined grid; truncated toward zero, as a C cast does."""
    cdef double value = 5.0 * coordinate + 0.5
    if value > FARTHEST:
        value = FARTHEST
    if value < -FARTHEST:
        value = -FARTHEST
    return <int64_t>value


cdef struct Edge:
    int64_t x, y  # the start, in walking order: x grows on flat edges, y on steep ones
    int64_t length  # steps along the longer side
    double slope  # of the shorter side per step
    bint steep
    int64_t first, last  # columns whose crossing the edge makes, within the image; last excluded


cdef Edge edge_between(double xa, double ya, double xb, double yb, int64_t width) noexcept nogil:
    cdef int64_t x0 = refined(xa), y0 = refined(ya), x1 = refined(xb), y1 = refined(yb)
    cdef int64_t dx = x1 - x0 if x1 > x0 else x0 - x1, dy = y1 - y0 if y1 > y0 else y0 - y1
    cdef int64_t low = x0 if x0 < x1 else x1, high = x0 if x0 > x1 else x1
    cdef Edge edge
    edge.steep = dx < dy
    if (y0 > y1) if edge.steep else (x0 > x1):
        x0, y0, x1, y1 = x1, y1, x0, y0
    edge.x = x0
    edge.y = y0
    edge.length = dy if edge.steep else dx
    edge.slope = 0.0
    if edge.length > 0:
        edge.slope = (<double>(x1 - x0) / dy) if edge.steep else (<double>(y1 - y0) / dx)
    # Column k is crossed by the step between 5k + 2 and 5k + 3.
    edge.first = 0 if low <= 2 else (low + 2) // 5
    edge.last = 0 if high < 3 else (high - 3) // 5 + 1
    if edge.last > width:
        edge.last = width
    return edge


cdef inline int64_t beside(const Edge* edge, int64_t step) noexcept nogil:
    """The shorter side's coordinate after so many steps along the longer."""
    cdef int64_t start = edge.x if edge.steep else edge.y
    return <int64_t>(start + edge.slope * step + 0.5)


cdef int64_t crossing(const Edge* edge, int64_t column, int64_t height) noexcept nogil:
    """The row, 0 to height, from which on the edge turns the column."""
    cdef int64_t x = 5 * column + 2, step, y
    cdef double guess
    if edge.steep:
        # The first step at which x has passed; rounding is monotone, so a guess can be mended.
        guess = (x + 0.5 - edge.x) / edge.slope
        step = 1 if guess < 1 else (edge.length if guess > edge.length else <int64_t>guess)
        if edge.slope > 0:
            while step > 1 and beside(edge, step - 1) > x:
                step -= 1
            while step < edge.length and beside(edge, step) <= x:
                step += 1
        else:
            while step > 1 and beside(edge, step - 1) <= x:
                step -= 1
            while step < edge.length and beside(edge, step) > x:
                step += 1
        y = edge.y + step - 1
    else:
        step = x - edge.x
        y = beside(edge, step if edge.slope >= 0 else step + 1)
    if y <= 2:
        return 0
    y = (y + 2) // 5
    return y if y < height else height


cdef int ascending(const void* a, const void* b) noexcept nogil:
    cdef uint32_t x = (<const uint32_t*>a)[0], y = (<const uint32_t*>b)[0]
    return (x > y) - (x < y)


cdef void sort_rows(uint32_t* rows, Py_ssize_t n) noexcept nogil:
    """A column usually has two crossings; only an odd polygon has so many that it matters."""
    cdef Py_ssize_t i, j
    cdef uint32_t row
    if n > 32:
        qsort(rows, n, sizeof(uint32_t), ascending)
        return
    for i in range(1, n):
        row = rows[i]
        j = i
        while j > 0 and rows[j - 1] > row:
            rows[j] = rows[j - 1]
            j -= 1
        rows[j] = row


cdef Py_ssize_t runs_between(uint32_t* rows, const int64_t* ends, int64_t first, int64_t columns,
                             int64_t height, int64_t pixels, uint32_t* runs) noexcept nogil:
    """Runs (room for all crossings and one more) of the mask that turns at every crossing."""
    cdef Py_ssize_t m = 0, i, begin = 0
    cdef int64_t k, place
    # First the places where the value turns; two at one place cancel.
    for k in range(columns):
        sort_rows(rows + begin, ends[k] - begin)
        for i in range(begin, ends[k]):
            place = (first + k) * height + rows[i]
            if m > 0 and runs[m - 1] == place:
                m -= 1
            elif place < pixels:
                runs[m] = <uint32_t>place
                m += 1
        begin = ends[k]
    runs[m] = <uint32_t>pixels
    for i in range(m, 0, -1):
        runs[i] -= runs[i - 1]
    return m + 1


cdef polygon_runs(const double[::1] xy, int64_t height, int64_t width):
    """uint32 runs of one polygon of finite coordinates x0 y0 x1 y1 ..., at least one point."""
    cdef Py_ssize_t points = xy.shape[0] // 2, i, j
    cdef int64_t k, first = width, last = 0, total = 0, count
    if height == 0 or width == 0:
        return np.zeros(1, np.uint32)
    edges_array = np.empty(points * sizeof(Edge), np.uint8)
    cdef unsigned char[::1] edges_bytes = edges_array
    cdef Edge* edges = <Edge*>&edges_bytes[0]
    with nogil:
        for i in range(points):
            j = i + 1 if i + 1 < points else 0
            edges[i] = edge_between(xy[2 * i], xy[2 * i + 1], xy[2 * j], xy[2 * j + 1], width)
            if edges[i].first < edges[i].last:
                first = min(first, edges[i].first)
                last = max(last, edges[i].last)
                total += edges[i].last - edges[i].first
    if total == 0:
        return np.full(1, height * width, np.uint32)
    runs_array = np.empty(total + 1, np.uint32)
    cdef uint32_t[::1] runs = runs_array
    cdef uint32_t[::1] rows = np.empty(total, np.uint32)
    cdef int64_t[::1] ends = np.zeros(last - first + 1, np.int64)
    with nogil:
        # How many crossings a column has, from where edges begin and end; then where its rows go.
        for i in range(points):
            if edges[i].first < edges[i].last:
                ends[edges[i].first - first] += 1
                ends[edges[i].last - first] -= 1
        count = 0
        total = 0
        for k in range(last - first):
            count += ends[k]
            ends[k] = total
            total += count
        for i in range(points):
            for k in range(edges[i].first, edges[i].last):
                rows[ends[k - first]] = <uint32_t>crossing(&edges[i], k, height)
                ends[k - first] += 1
        i = runs_between(&rows[0], &ends[0], first, last - first, height, height * width, &runs[0])
    return runs_array[:i].copy()


def flat_points(op, polygon):
    """float64 coordinates x0 y0 x1 y1 ... of a polygon, checked."""
    try:
        given = np.asarray(polygon)
    except ValueError:
        raise TypeError(f"{op}: a polygon must be a flat list of numbers, "
                        f"got a nested list of uneven lengths") from None
    if given.ndim != 1:
        raise ValueError(f"{op}: a polygon must be flat, x0 y0 x1 y1 ..., got shape {given.shape}")
    if given.size and given.dtype.kind not in "iuf":
        raise TypeError(f"{op}: a polygon must hold numbers, got {given.dtype}")
    if given.size % 2:
        raise ValueError(f"{op}: a polygon must have an even count of coordinates, "
                         f"got {given.size}")
    if given.size < 6:
        raise ValueError(f"{op}: a polygon must have at least 3 points, got {given.size // 2}")
    points = np.ascontiguousarray(given, np.float64)
    if not np.isfinite(points).all():
        raise ValueError(f"{op}: a polygon must have finite coordinates, got "
                         f"{points[~np.isfinite(points)][0]}")
    return points


def polygon_counts(op, polygon, height, width):
    """uint32 runs of one checked polygon."""
    h, w = image_size(op, height, width)
    return polygon_runs(flat_points(op, polygon), h, w)


def box_counts(op, box, height, width):
    """uint32 runs of one box x y width height, drawn as its four corners are."""
    h, w = image_size(op, height, width)
    x, y, x_end, y_end = box[0], box[1], box[0] + box[2], box[1] + box[3]
    return polygon_runs(np.array([x, y, x, y_end, x_end, y_end, x_end, y], np.float64), h, w)


def counts_from_polygons(polygons, height, width, op="counts_from_polygons"):
    """uint32 runs, summing to height * width, of the union of polygons.

    Args:
        polygons: sequence of flat sequences x0 y0 x1 y1 ... of at least 3 points, pixels.

    Raises:
        TypeError, ValueError: naming ``op`` and the rule.
    """
    h, w = image_size(op, height, width)
    if not isinstance(polygons, (list, tuple, np.ndarray)):
        raise TypeError(f"{op}: polygons must be a list of polygons, "
                        f"got {type(polygons).__name__}")
    if len(polygons) and np.ndim(polygons[0]) == 0:
        raise TypeError(f"{op}: polygons must be a list of polygons, got numbers; "
                        f"did you mean [polygon]?")
    parts = [polygon_runs(flat_points(op, polygon), h, w) for polygon in polygons]
    if len(parts) == 0:
        return np.full(1, h * w, np.uint32)
    if len(parts) == 1:
        return parts[0]
    offsets = np.cumsum([0] + [len(part) for part in parts], dtype=np.int64)
    return merge_runs(np.concatenate(parts), offsets, h * w, False)
