"""What the arguments of several ops are drawn from: boxes, RoIs, maps, scores and thresholds of one case.

Ordinary cases keep to what every implementation is made for: at least one box, all of them of whole or quarter
coordinates and with an area, finite numbers. Awkward ones may also have empty, reversed, huge, NaN and infinite boxes,
NaN and infinite scores, and no boxes at all.
"""

import numpy as np
from hypothesis import strategies as st

from roikit.testing import strategies as some

__all__ = ["DTYPES", "PLAIN", "SAMPLED", "SCALES", "SIZES", "boxes_of", "candidates_of", "maps_of", "rois_of",
           "threshold_of"]

PLAIN = ("grid", "cluster")
# Without "huge": an adaptive grid over such a box keeps most implementations busy for hours.
SAMPLED = (*some.ORDINARY, "degenerate", "reversed", "nonfinite")
DTYPES = st.sampled_from([np.float32, np.float32, np.float64])
SIZES = st.sampled_from([1, 2, 3, (2, 3), (1, 2)])
SCALES = st.sampled_from([1.0, 0.5, 0.25, 1 / 3])


def boxes_of(draw, awkward, dtype, n=None, max_size=5, kinds=None):
    if n is None and not awkward:
        n = draw(st.integers(1, max_size))
    kinds = kinds or (some.KINDS if awkward else PLAIN)
    return draw(some.boxes(n=n, dtype=dtype, kinds=kinds, max_size=max_size))


def rois_of(draw, awkward, images, max_size=3, kinds=some.KINDS):
    n = None if awkward else draw(st.integers(1, max_size))
    return draw(some.rois(images, n=n, kinds=kinds if awkward else PLAIN, max_size=max_size, as_list=False))


def maps_of(draw, awkward, least=1, channels=None, **options):
    low = 0 if awkward and draw(st.integers(0, 9)) == 9 else least
    channels = draw(st.integers(1, 2)) if channels is None else channels
    shape = (draw(st.integers(1, 2)), channels, draw(st.integers(low, 9)), draw(st.integers(low, 9)))
    return draw(some.feature_maps(shape, **options))


# A box once more, moved to the right, with corners swapped along some axes: which, how far, axes.
PLAIN_COPIES = st.tuples(st.just("copy"), st.integers(0, 6), st.integers(0, 2), st.just(()))
COPIES = st.tuples(st.just("copy"), st.integers(0, 6), st.integers(0, 2), st.sampled_from([(), (), (0,), (0, 1)]))


def with_copies(rows, dtype):
    out = [[0, 0, 1, 1]]
    for row in rows:
        if row[0] == "copy":
            _, which, right, axes = row
            box = [c + right * (i % 2 == 0) for i, c in enumerate(out[which % len(out)])]
            row = [box[i ^ 2] if i % 2 in axes else box[i] for i in range(4)]
        out.append(row)
    return some.as_boxes(out[1:], dtype)


def candidates_of(draw, awkward, max_size=7, classes=False, rotated=False):
    """Boxes, scores and perhaps classes, drawn row by row, so that a row can be left out of all."""
    dtype = draw(DTYPES)
    if rotated:
        one = some.rotated_box() if awkward else some.rotated_box(PLAIN, copies=False)
    else:
        one = some.box() if awkward else some.box(PLAIN)
        one = st.one_of(one, one, COPIES if awkward else PLAIN_COPIES)
    common = draw(st.sampled_from([0, 1, *([10**6] if awkward else [])])) if classes else 0
    label = st.sampled_from([common, common, 0, 1, 7, *([-1, 10**6] if awkward else [])]) if classes else st.just(0)
    least = draw(st.sampled_from([0 if awkward else 1, 4, 4, max_size - 1]))  # left alone, most lists are short
    rows = draw(st.lists(st.tuples(one, some.score(awkward), label), min_size=least, max_size=max_size))
    given, scores, idxs = zip(*rows, strict=True) if rows else ((), (), ())
    case = {"boxes": some.as_rotated_boxes(given, dtype) if rotated else with_copies(given, dtype),
            "scores": np.array(scores, dtype)}
    return {**case, "idxs": np.array(idxs, np.int64)} if classes else case


def threshold_of(draw, awkward, iou):
    """Any threshold, or one that some pair reaches exactly, or misses by less than float32 can tell."""
    reached = sorted(set(iou[iou > 0].astype(float).tolist()))
    if not reached or draw(st.integers(0, 3)) == 0:
        return draw(some.thresholds() if awkward else st.sampled_from(some.THRESHOLDS))
    return draw(st.sampled_from(reached)) * (1 + draw(st.sampled_from([0, -1e-9, 1e-9, -1e-9] if awkward else [0])))
