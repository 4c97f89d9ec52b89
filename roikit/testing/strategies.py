"""Hypothesis strategies for the inputs of the ops. Everything is a small NumPy array.

Empty inputs are the simplest, so hypothesis tries and shrinks to them first. Numbers are drawn mostly
from coarse grids: equal IoUs, equal scores and samples on the border of a map are what ops get wrong.

    from roikit.testing import strategies as some

    @given(some.boxes_and_scores(), some.thresholds())
    def test_my_nms(case, threshold): ...
"""

import numpy as np
from hypothesis import strategies as st

__all__ = [
    "FINITE",
    "KINDS",
    "ORDINARY",
    "ROTATED_KINDS",
    "as_boxes",
    "as_rotated_boxes",
    "bitmaps",
    "box",
    "boxes",
    "boxes_and_scores",
    "deform_convolutions",
    "feature_maps",
    "keypoints",
    "polygons",
    "rois",
    "rotated_box",
    "rotated_boxes",
    "score",
    "scores",
    "soft_masks",
    "thresholds",
]

ORDINARY = ("grid", "cluster", "scattered")
FINITE = (*ORDINARY, "degenerate", "reversed", "huge")
KINDS = (*FINITE, "nonfinite")

THRESHOLDS = (0.0, 0.25, 1 / 3, 0.3, 0.5, 0.6, 0.7, 0.75, 1.0)
HUGE = (1e5, 1e9, 1e18, 1e30, 3e38)


def _quarters(low, high):
    return st.integers(4 * low, 4 * high).map(lambda i: i / 4)


def _from_corner(corner, width, height):
    """Boxes from strategies for a corner's coordinate, a width and a height."""
    return st.builds(lambda x, y, w, h: [x, y, x + w, y + h], corner, corner, width, height)


def _spoilt(box, values):
    return [v if value is None else value for v, value in zip(box, values, strict=True)]


# Built once: a strategy made anew for every draw costs more than the draw.
_CORNER, _SIDE, _ZERO = st.integers(-2, 12), st.integers(1, 8), st.just(0)
_HUGE_COORDINATE = st.one_of(_quarters(-4, 40), st.sampled_from([s * v for v in HUGE for s in (1, -1)]))
_GRID = _from_corner(_CORNER, _SIDE, _SIDE)
_BOXES = {
    "grid": _GRID,
    "cluster": _from_corner(_quarters(8, 9), _quarters(4, 6), _quarters(4, 6)),  # around one place
    "scattered": _from_corner(st.floats(-16, 48, width=32), *[st.floats(0, 40, width=32)] * 2),
    "degenerate": st.one_of(_from_corner(_CORNER, _ZERO, _ZERO), _from_corner(_CORNER, _ZERO, _SIDE),
                            _from_corner(_CORNER, _SIDE, _ZERO)),
    "reversed": st.builds(lambda box, axes: [box[i ^ 2] if i % 2 in axes else box[i] for i in range(4)],
                          _GRID, st.sampled_from([(0,), (1,), (0, 1)])),
    "huge": st.tuples(*[_HUGE_COORDINATE] * 4),
    "nonfinite": st.builds(_spoilt, _GRID, st.tuples(*[st.sampled_from([None, np.nan, np.inf, -np.inf])] * 4)
                           .filter(any)),
}


def box(kinds=KINDS):
    """One box as 4 numbers; ``kinds`` as in ``boxes``."""
    return st.one_of([_BOXES[kind] for kind in kinds])


def as_boxes(rows, dtype=np.float32, columns=4):
    """Boxes (N, columns) of rows of numbers."""
    with np.errstate(over="ignore"):
        return np.array(rows, np.float64).reshape(len(rows), columns).astype(dtype)


def boxes(n=None, dtype=np.float32, kinds=KINDS, max_size=8):
    """Boxes (N, 4), x1 y1 x2 y2.

    Args:
        n: how many, or None for 0 to ``max_size``.
        dtype: float16 (huge coordinates become infinite), float32 or float64.
        kinds: what may occur, mixed in one array: "grid" whole numbers with many ties, "cluster"
            boxes that overlap, "scattered" any float32, "degenerate" without area, "reversed"
            x2 < x1 or y2 < y1, "huge" up to 3e38, "nonfinite" with NaN or infinities.
    """
    least, most = (0, max_size) if n is None else (n, n)
    return st.lists(box(kinds), min_size=least, max_size=most).map(lambda rows: as_boxes(rows, dtype))


_ORDINARY_SCORE = st.one_of(st.sampled_from([0.5, 0.0, 0.25, 1.0]), st.floats(0, 1, width=32))
_AWKWARD_SCORE = st.one_of(_ORDINARY_SCORE, st.sampled_from([np.nan, -0.0, np.inf, -np.inf, -1.0]))


def score(awkward=True):
    """One score; NaN, infinities and -0.0 too if ``awkward``."""
    return _AWKWARD_SCORE if awkward else _ORDINARY_SCORE


def scores(n, dtype=np.float32, awkward=True):
    """Scores (N,) with many ties; ``awkward`` as in ``score``."""
    return st.lists(score(awkward), min_size=n, max_size=n).map(lambda values: np.array(values, dtype))


@st.composite
def boxes_and_scores(draw, dtype=np.float32, kinds=KINDS, max_size=8):
    """Boxes (N, 4) and scores (N,) of one dtype."""
    some = draw(boxes(dtype=dtype, kinds=kinds, max_size=max_size))
    return some, draw(scores(len(some), dtype))


def thresholds():
    """IoU thresholds: those at which small whole-number boxes tie, and any others in [0, 1]."""
    return st.one_of(st.sampled_from(THRESHOLDS), st.floats(0, 1))


@st.composite
def rois(draw, images, n=None, dtype=np.float32, kinds=KINDS, max_size=6, as_list=None):
    """RoIs of ``images`` images: (K, 5), batch index first, or a list with one (L, 4) an image.

    Args:
        images: N; with 0 images there are no RoIs.
        as_list: True for the list, False for (K, 5), None for either.
        The rest as in ``boxes``; ``n`` is the number of RoIs in all.
    """
    some = draw(boxes(n=0 if images == 0 else n, dtype=dtype, kinds=kinds, max_size=max_size))
    index = st.lists(st.integers(0, max(images - 1, 0)), min_size=len(some), max_size=len(some))
    index = np.array(draw(index), np.int64)
    if draw(st.booleans()) if as_list is None else as_list:
        return [some[index == i] for i in range(images)]
    return np.concatenate([index[:, None].astype(dtype), some], axis=1)


_ANGLES = st.one_of(st.integers(-8, 8).map(lambda i: 45 * i), st.floats(-400, 400, width=32))
_ROTATED = {
    "grid": st.tuples(_CORNER, _CORNER, _SIDE, _SIDE, st.integers(-4, 4).map(lambda i: 90 * i)),
    "cluster": st.tuples(_quarters(8, 9), _quarters(8, 9), _quarters(4, 6), _quarters(4, 6), _ANGLES),
    "scattered": st.tuples(*[st.floats(-16, 48, width=32)] * 2, *[st.floats(0, 40, width=32)] * 2, _ANGLES),
    "thin": st.tuples(_CORNER, _CORNER, st.sampled_from([10.0, 1000.0]), st.sampled_from([0.01, 0.5]), _ANGLES),
    "degenerate": st.tuples(_CORNER, _CORNER, st.sampled_from([0, 0, -2, 3]), st.sampled_from([0, -1]), _ANGLES),
    "reversed": st.builds(lambda box, signs: (*box[:2], box[2] * signs[0], box[3] * signs[1], box[4]),
                          st.tuples(_CORNER, _CORNER, _SIDE, _SIDE, _ANGLES),
                          st.sampled_from([(-1, -1), (-1, 1), (1, -1)])),
    "tiny": st.tuples(_CORNER, _CORNER, *[st.sampled_from([1e-8, 3e-8])] * 2, _ANGLES),
    "huge": st.tuples(_HUGE_COORDINATE, _HUGE_COORDINATE, *[st.sampled_from([1.0, *HUGE])] * 2, _ANGLES),
}
_ROTATED["nonfinite"] = st.builds(_spoilt, _ROTATED["grid"], st.tuples(
    *[st.sampled_from([None, np.nan, np.inf, -np.inf])] * 5).filter(any))
ROTATED_KINDS = tuple(_ROTATED)


# A box once more, or all but it, or turned by half a circle or a whole one, or with both sides reversed: which, noise,
# its seed, turn, sign.
_COPY = st.tuples(st.just("copy"), st.integers(0, 7), st.sampled_from([0, 1e-7, 1e-5, 1e-3]), st.integers(0, 2**16),
                  st.sampled_from([0, 180, -180, 360]), st.sampled_from([1, 1, -1]))


def rotated_box(kinds=ROTATED_KINDS, copies=True):
    """One rotated box for ``as_rotated_boxes``; ``kinds`` and ``copies`` as in ``rotated_boxes``."""
    rows = st.one_of([_ROTATED[kind] for kind in kinds])
    return st.one_of(rows, rows, _COPY) if copies else rows


def as_rotated_boxes(rows, dtype=np.float32):
    """Rotated boxes (N, 5) of what ``rotated_box`` draws."""
    out = [(0, 0, 1, 1, 0)]
    for row in rows:
        if row[0] == "copy":
            _, which, noise, seed, turn, sign = row
            row = np.array(out[which % len(out)], np.float64)
            row *= 1 + np.random.default_rng(seed).normal(size=5) * noise
            row[2:4] *= sign
            row[4] += turn
        out.append(row)
    return as_boxes(out[1:], dtype, 5)


def rotated_boxes(n=None, dtype=np.float32, kinds=ROTATED_KINDS, max_size=8, copies=True):
    """Rotated boxes (N, 5): cx, cy, w, h, degrees.

    Args:
        n: how many, or None for 0 to ``max_size``.
        dtype: float32 or float64.
        kinds: those of ``boxes``, "thin" with sides as 20 or 100,000 to 1, and "tiny" with sides of 1e-8.
        copies: some boxes are others once more, or all but them, or turned by half a circle or a whole one, or with
            both sides reversed.
    """
    least, most = (0, max_size) if n is None else (n, n)
    return st.lists(rotated_box(kinds, copies), min_size=least, max_size=most).map(
        lambda rows: as_rotated_boxes(rows, dtype))


@st.composite
def feature_maps(draw, shape=None, dtype=np.float32, nan=False, max_side=9):
    """Feature maps (N, C, H, W) of quarters in [-4, 4], which half holds exactly.

    Args:
        shape: (N, C, H, W), or None to draw a small one, each axis possibly 0.
        nan: also NaN and infinities.
    """
    if shape is None:
        shape = tuple(draw(st.integers(0, most)) for most in (2, 2, max_side, max_side))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))  # too many to draw one by one
    values = rng.integers(-16, 17, shape) / 4
    if nan:
        special = rng.choice([np.nan, np.inf, -np.inf], shape)
        values = np.where(rng.random(shape) < 0.25, special, values)
    return values.astype(dtype)


@st.composite
def soft_masks(draw, n=None, cells=None, dtype=np.float32, max_size=4):
    """Probabilities (N, M, M) in eighths of [0, 1], so that some stand exactly on a threshold."""
    count = draw(st.integers(0, max_size)) if n is None else n
    cells = draw(st.integers(1, 6)) if cells is None else cells
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return (rng.integers(0, 9, (count, cells, cells)) / 8).astype(dtype)


_VISIBILITY = st.sampled_from([2, 1, 0])


def keypoints(boxes, count=3, awkward=True):
    """Keypoints (N, K, 3) of boxes (N, 4): x, y, visibility 0, 1 or 2, in the boxes' dtype.

    Corners, edges, middles and places just outside of their box; NaN, infinities and others far off if ``awkward``.
    """
    inside = st.sampled_from([0, 0.25, 1, 0.5, 0.75, 1 / 3])
    place = st.one_of(inside, inside, st.sampled_from([-0.25, 1.25, *([np.nan, np.inf, 1e6] if awkward else [])]))
    row = st.lists(st.tuples(place, place, _VISIBILITY), min_size=count, max_size=count)

    def placed(rows):
        out = np.zeros((len(boxes), count, 3), boxes.dtype)
        with np.errstate(all="ignore"):
            for n, points in enumerate(rows):
                for k, (x, y, seen) in enumerate(points):
                    sides = boxes[n, 2:] - boxes[n, :2]
                    out[n, k] = (*(boxes[n, :2] + np.array([x, y], boxes.dtype) * sides), seen)
        return out

    return st.lists(row, min_size=len(boxes), max_size=len(boxes)).map(placed)


@st.composite
def bitmaps(draw, n=None, size=None, dtype=np.bool_, max_size=4, max_side=9):
    """Bitmaps (N, H, W): empty, full, rectangles and noise.

    Args:
        n: how many, or None for 0 to ``max_size``.
        size: (H, W), or None to draw one, each side possibly 0.
    """
    count = draw(st.integers(0, max_size)) if n is None else n
    height, width = (draw(st.integers(0, max_side)) for _ in range(2)) if size is None else size
    masks = np.zeros((count, height, width), dtype)
    for mask in masks:
        kind = draw(st.sampled_from(["empty", "full", "rectangle", "noise"]))
        if kind == "full":
            mask[:] = 1
        elif kind == "rectangle":
            y, x = draw(st.integers(0, max(height - 1, 0))), draw(st.integers(0, max(width - 1, 0)))
            mask[y : y + draw(st.integers(1, 4)), x : x + draw(st.integers(1, 4))] = 1
        elif kind == "noise":
            rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
            mask[:] = rng.random(mask.shape) < 0.5
    return masks


@st.composite
def polygons(draw, max_size=3, max_points=8):
    """Polygons of one object: flat [x0, y0, x1, y1, ...], float64, pixels.

    At least 3 points each, on quarters in [-2, 12]: repeated points, crossings and lines without area occur.
    """
    point = st.tuples(_quarters(-2, 12), _quarters(-2, 12))
    some = draw(st.lists(st.lists(point, min_size=3, max_size=max_points), max_size=max_size))
    return [np.array(points, np.float64).ravel() for points in some]


_AWKWARD_OFFSETS = (np.nan, np.inf, -np.inf, 6e4, -6e4)


@st.composite
def deform_convolutions(draw, dtype=np.float32):
    """The arguments of `deform_conv2d`: (input, offset, weight, bias, stride, padding, dilation, mask).

    Bias and mask may be None.
    Small maps and kernels, weight and offset groups; values are quarters, so that many samples are at whole positions,
    on the map's border or beyond it, and some offsets are huge or not finite.
    """
    def drawn(low, high):
        return draw(st.integers(low, high))

    groups, shared, kernel = drawn(1, 3), drawn(1, 3), (drawn(1, 3), drawn(1, 3))
    channels = int(np.lcm(groups, shared)) * drawn(1, 3)
    stride, padding, dilation = (tuple(drawn(low, 2) for _ in range(2)) for low in (1, 0, 1))
    size = [max(1, (drawn(1, 4) - 1) * s + d * (k - 1) + 1 - 2 * p)
            for k, s, p, d in zip(kernel, stride, padding, dilation, strict=True)]
    places = [(n + 2 * p - d * (k - 1) - 1) // s + 1
              for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)]
    images, taps, outputs = drawn(0, 2), kernel[0] * kernel[1], groups * drawn(1, 3)
    rng = np.random.default_rng(drawn(0, 2**16))

    def quarters(*shape):
        return (rng.integers(-8, 9, shape) / 4).astype(dtype)

    offset = quarters(images, 2 * shared * taps, *places)
    spoilt = rng.random(offset.shape) < draw(st.sampled_from([0, 0.1]))
    offset[spoilt] = rng.choice(_AWKWARD_OFFSETS, int(spoilt.sum()))
    return (quarters(images, channels, *size), offset, quarters(outputs, channels // groups, *kernel),
            quarters(outputs) if draw(st.booleans()) else None, stride, padding, dilation,
            quarters(images, shared * taps, *places) if draw(st.booleans()) else None)
