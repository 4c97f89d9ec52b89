# distutils: extra_compile_args = -ffp-contract=off
"""Polygons to runs, by COCO's rule: the outline is drawn five times finer and crossings are counted.

The rule walks every point of the refined outline. Only the steps from 5k + 2 to 5k + 3 in x can
change column k, so here those steps are computed directly: time and memory follow the columns
that the polygon crosses inside the image, whatever its coordinates are.

Source: the rasteriser of pycocotools 2.0.11; the arithmetic per step is the same, in double.
"""

import numpy as np

from libc.math cimport INFINITY, isfinite
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport calloc, free, malloc, qsort
from libc.string cimport memcpy

from roikit._rle import image_size, merge_runs, runs_of

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


cdef void count_crossings(const Edge* edges, Py_ssize_t points, int64_t first, int64_t last,
                          int64_t* starts) noexcept nogil:
    """Where each column's crossings begin among all; starts comes in as zeros."""
    cdef Py_ssize_t i
    cdef int64_t k, here = 0, before = 0
    for i in range(points):
        if edges[i].first < edges[i].last:
            starts[edges[i].first - first] += 1
            starts[edges[i].last - first] -= 1
    for k in range(last - first):
        here += starts[k]
        starts[k] = before
        before += here


cdef polygon_runs(const double[::1] xy, int64_t height, int64_t width):
    """uint32 runs of one polygon of finite coordinates x0 y0 x1 y1 ..., at least one point."""
    cdef Py_ssize_t points = xy.shape[0] // 2, i, j
    cdef int64_t k, first = width, last = 0, total = 0
    if height == 0 or width == 0:
        return np.zeros(1, np.uint32)
    cdef Edge* edges = <Edge*>malloc(points * sizeof(Edge))
    cdef int64_t* ends = NULL
    cdef uint32_t* rows
    cdef uint32_t* runs
    cdef uint32_t[::1] result
    try:
        if edges == NULL:
            raise MemoryError("polygon: no memory for the edges")
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
        ends = <int64_t*>calloc(last - first + 1 + total + 1, 8)
        if ends == NULL:
            raise MemoryError("polygon: no memory for the crossings")
        rows = <uint32_t*>(ends + last - first + 1)
        runs = rows + total
        with nogil:
            count_crossings(edges, points, first, last, ends)
            for i in range(points):
                for k in range(edges[i].first, edges[i].last):
                    rows[ends[k - first]] = <uint32_t>crossing(&edges[i], k, height)
                    ends[k - first] += 1
            j = runs_between(rows, ends, first, last - first, height, height * width, runs)
        result_array = np.empty(j, np.uint32)
        result = result_array
        memcpy(&result[0], runs, j * sizeof(uint32_t))
        return result_array
    finally:
        free(edges)
        free(ends)


def flat_points(op, polygon):
    """float64 coordinates x0 y0 x1 y1 ... of a polygon, checked."""
    if not isinstance(polygon, (list, tuple)):
        polygon = np.asarray(polygon)
        if polygon.ndim != 1:
            raise ValueError(f"{op}: a polygon must be flat, x0 y0 x1 y1 ..., "
                             f"got shape {polygon.shape}")
        if polygon.dtype.kind not in "iuf":
            raise TypeError(f"{op}: a polygon must hold numbers, got {polygon.dtype}")
    cdef Py_ssize_t i, n = len(polygon)
    if n % 2:
        raise ValueError(f"{op}: a polygon must have an even count of coordinates, got {n}")
    if n < 6:
        raise ValueError(f"{op}: a polygon must have at least 3 points, got {n // 2}")
    # Converted one by one: for lists this takes a quarter of np.asarray's time.
    points_array = np.empty(n, np.float64)
    cdef double[::1] points = points_array
    if isinstance(polygon, np.ndarray):
        points_array[:] = polygon
    else:
        for i in range(n):
            try:
                points[i] = polygon[i]
            except TypeError:
                raise TypeError(f"{op}: a polygon must hold numbers, "
                                f"got {type(polygon[i]).__name__}") from None
            except OverflowError:
                points[i] = INFINITY
    for i in range(n):
        if not isfinite(points[i]):
            raise ValueError(f"{op}: a polygon must have finite coordinates, got {points[i]}")
    return points_array


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


def runs_of_masks(masks, image_size_of_polygons, op):
    """Checked runs of a list of masks, each an RLE dict or a list of polygons.

    Args:
        image_size_of_polygons: (H, W), or None where no mask is given as polygons.

    Returns:
        counts: uint32, flat; offsets: int64 (N + 1,); sizes: int64 (N, 2), height and width.

    Raises:
        TypeError, ValueError: naming ``op`` and the rule.
    """
    if all(isinstance(mask, dict) for mask in masks):
        return runs_of(masks, op)
    parts = []
    sizes = np.empty((len(masks), 2), np.int64)
    for i, mask in enumerate(masks):
        if isinstance(mask, dict):
            counts, _, size = runs_of([mask], op)
            parts.append(counts)
            sizes[i] = size[0]
            continue
        if not isinstance(mask, (list, tuple)):
            raise TypeError(f"{op}: masks must be an array, or a list of RLE dicts or of lists of "
                            f"polygons, got a list with {type(mask).__name__}")
        if image_size_of_polygons is None:
            raise ValueError(f"{op}: image_size must be given with polygons, got None")
        height, width = image_size_of_polygons
        parts.append(counts_from_polygons(mask, height, width, op))
        sizes[i] = height, width
    offsets = np.cumsum([0] + [len(part) for part in parts], dtype=np.int64)
    return np.concatenate(parts), offsets, sizes
