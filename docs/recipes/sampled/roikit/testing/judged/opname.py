"""opname: its arguments, and what others do."""

import numpy as np
from hypothesis import strategies as st

from roikit import reference
from roikit.reference.arguments import as_rois, pair
from roikit.reference.rois import taps, value_at
from roikit.testing.draws import SCALES, SIZES, maps_of, rois_of
from roikit.testing.judging import Op
from roikit.testing.variants import combine, rounded_apart, trait

__all__ = ["OPS"]


@st.composite
def opname(draw, awkward):
    maps = maps_of(draw, awkward, nan=awkward and draw(st.booleans()))
    return {"input": maps, "boxes": rois_of(draw, awkward, len(maps)), "output_size": draw(SIZES),
            "spatial_scale": draw(SCALES)}


def samples(low, high, bins, extent, scale, at, shift, zeros):
    """The taps of each bin's sample along one axis; None outside of the map."""
    real = low.dtype.type
    with np.errstate(all="ignore"):
        start = low * real(scale) - real(shift)
        size = high * real(scale) - real(shift) - start
        places = [start + ((real(p) + real(at)) * size) / real(bins) for p in range(bins)]
    least, most = (0, extent - 1) if zeros else (-1, extent)
    return [taps(y, extent) if extent > 0 and least <= y <= most else None for y in places]


def model(case, got, *, at=0.5, shift=0, zeros=False):
    """``at``: where in a bin its sample stands; ``shift``: of the boxes, in pixels; ``zeros``: 0 beyond the pixels."""
    features, size = case["input"], pair(case["output_size"])
    batch, boxes = as_rois("opname", case["boxes"], len(features))
    out = np.zeros((len(boxes), features.shape[1], *size), features.dtype)
    for k, (x1, y1, x2, y2) in enumerate(boxes):
        down, across = (samples(*axis, case["spatial_scale"], at, shift, zeros) for axis in (
            (y1, y2, size[0], features.shape[2]), (x1, x2, size[1], features.shape[3])))
        for c, ph, pw in np.ndindex(out.shape[1:]):
            out[k, c, ph, pw] = value_at(features[batch[k], c], down[ph], across[pw])
    return out


OPNAME = (*combine(model, (
    trait("first-edge", "the sample stands on the bin's first edge", at=0),
    trait("half-pixel", "boxes are shifted by half a map pixel, as with RoIAlign's aligned", shift=0.5),
    trait("edge-zeros", "beyond the outermost pixels a sample is 0: the edge is not replicated", zeros=True),
)), rounded_apart(reference.opname))


OPS = (
    Op("opname", reference.opname, "the sample stands in the middle of its bin, boxes "
       "are not shifted, edges replicated to [-1, H]", OPNAME, 4, arguments=opname),
)
