"""roi_pool: its arguments, and what others do."""

import numpy as np
from hypothesis import strategies as st

from roikit import reference
from roikit.reference.arguments import as_rois
from roikit.reference.rois import round_half_away
from roikit.testing.draws import SCALES, SIZES, maps_of, rois_of
from roikit.testing.judging import Op
from roikit.testing.variants import combine, trait

__all__ = ["OPS"]


@st.composite
def roi_pool(draw, awkward):
    maps = maps_of(draw, awkward, nan=awkward and draw(st.booleans()))
    return {"input": maps, "boxes": rois_of(draw, awkward, len(maps)), "output_size": draw(SIZES),
            "spatial_scale": draw(SCALES)}


def whole_edges(low, high, bins, extent, scale, corner, plus):
    """Edges of the bins of RoIPool along one axis; ``corner`` makes a coordinate whole."""
    real = low.dtype.type
    start, end = (int(np.clip(corner(c * scale), -(2**30), 2**30)) for c in (low, high))
    step = real(max(end - start + plus, 1)) / real(bins)
    first = [int(np.floor(real(p) * step)) + start for p in range(bins)]
    last = [int(np.ceil(real(p + 1) * step)) + start for p in range(bins)]
    return np.clip(first, 0, extent), np.clip(last, 0, extent)


def continuous_edges(low, high, bins, extent, scale):
    """mmcv's: corners are not rounded, the last pixel is part of the box; None for a box without a size."""
    real = low.dtype.type
    start, end = low * scale, (high + real(1)) * scale
    if not end > start:
        return None
    step = (end - start) / real(bins)
    limit = 2.0**30
    first = [int(np.clip(np.floor(real(p) * step + start), -limit, limit)) for p in range(bins)]
    last = [int(np.clip(np.ceil(real(p + 1) * step + start), -limit, limit)) for p in range(bins)]
    return np.clip(first, 0, extent), np.clip(last, 0, extent)


CORNERS = {"away": round_half_away, "even": np.rint, "trunc": np.trunc, "floor": np.floor}


def roi_pool_model(case, got, *, corner="away", plus=1, empty=0.0, reduce="max", nan_wins=False):
    features = case["input"]
    size = case["output_size"]
    rows, columns = size if np.ndim(size) else (size, size)
    batch, boxes = as_rois("roi_pool", case["boxes"], len(features))
    scale = boxes.dtype.type(case["spatial_scale"])
    output = np.zeros((len(boxes), features.shape[1], rows, columns), features.dtype)
    for k, (x1, y1, x2, y2) in enumerate(boxes):
        if not np.isfinite(boxes[k]).all():
            continue
        with np.errstate(all="ignore"):
            if corner == "continuous":
                vertical = continuous_edges(y1, y2, rows, features.shape[2], scale)
                horizontal = continuous_edges(x1, x2, columns, features.shape[3], scale)
                if vertical is None or horizontal is None:
                    continue
            else:
                rule = CORNERS[corner]
                vertical = whole_edges(y1, y2, rows, features.shape[2], scale, rule, plus)
                horizontal = whole_edges(x1, x2, columns, features.shape[3], scale, rule, plus)
        for p, q in np.ndindex(rows, columns):
            part = features[batch[k], :, vertical[0][p] : vertical[1][p], horizontal[0][q] : horizontal[1][q]]
            if part.size == 0:
                output[k, :, p, q] = empty
            elif reduce == "mean":
                output[k, :, p, q] = part.mean(axis=(1, 2))
            else:
                best = np.where(np.isnan(part), -np.inf, part).max(axis=(1, 2))
                best = np.where(best == -np.inf, 0, best)
                output[k, :, p, q] = part.max(axis=(1, 2)) if nan_wins else best
    return output


ROUNDED = (
    trait("rounded-half-even", "corners are rounded half to even (numpy.round), not away from zero", corner="even"),
    trait("truncated-corners", "corners are truncated toward zero instead of rounded", corner="trunc"),
    trait("floored-corners", "corners are rounded down instead of to the nearest", corner="floor"),
)
ROI_POOL = combine(roi_pool_model, (
    trait("mmcv-rule", "corners are not rounded, x2 counts as x2 + 1, and bins run from floor to ceil of continuous "
          "edges (mmcv)", corner="continuous", plus=None),
    *ROUNDED,
    trait("no-plus-one", "the size of a RoI is end - start, without its last pixel", plus=0),
    trait("nan-wins", "a NaN feature is the maximum of its bin", nan_wins=True),
    trait("empty-is-minus-infinity", "an empty bin gives -inf, not 0", empty=-np.inf),
    trait("mean", "a bin is its mean, not its maximum", reduce="mean"),
))


OPS = (
    Op("roi_pool", reference.roi_pool, "corners rounded half away from zero, last pixel included (Caffe, torchvision); "
       "NaN features never win; an empty bin is 0", ROI_POOL, 4, arguments=roi_pool),
)
