"""opname: its arguments, and what others do."""

import numpy as np
from hypothesis import strategies as st

from roikit import reference
from roikit.testing.draws import DTYPES, boxes_of
from roikit.testing.judging import Op
from roikit.testing.variants import combine, rounded_apart, trait

__all__ = ["OPS"]


@st.composite
def opname(draw, awkward):
    return {"boxes": boxes_of(draw, awkward, draw(DTYPES)), "stride": draw(st.sampled_from([1.0, 4.0, 0.3]))}


def model(case, got, *, corner=False, last=0, stride=None):
    boxes = case["boxes"]
    real = boxes.dtype.type
    with np.errstate(all="ignore"):
        places = boxes[:, :2] if corner else (boxes[:, :2] + (boxes[:, 2:] + real(last))) * real(0.5)
        return places / real(stride or case["stride"])


OPNAME = (*combine(model, (
    trait("corner", "the box's first corner, not its centre", corner=True, last=None),
    trait("last-pixel", "x2 and y2 are the last pixel: the centre is half a pixel further", last=1),
    trait("no-stride", "the stride is ignored", needs="stride", stride=1.0),
)), rounded_apart(reference.opname))


OPS = (
    Op("opname", reference.opname, "the middle of the corners, divided by the stride",
       OPNAME, 2, arguments=opname),
)
