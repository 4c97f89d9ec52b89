"""opname: its arguments, and what others do."""

import numpy as np
from hypothesis import strategies as st

from roikit import reference
from roikit.testing.draws import candidates_of
from roikit.testing.judging import Op
from roikit.testing.variants import combine, trait

__all__ = ["OPS"]


@st.composite
def opname(draw, awkward):
    return {**candidates_of(draw, awkward), "distance": draw(st.sampled_from([0.5, 1.0, 2.0, 3.0]))}


def model(case, got, *, inclusive=False, high=False, chained=False, by_index=False):
    """Every habit at once. ``high``: equal scores by descending index; ``chained``: what is removed removes, too."""
    boxes, scores = case["boxes"], case["scores"]
    real, index = boxes.dtype.type, np.arange(len(boxes))
    keep, gone = [], np.zeros(len(boxes), bool)
    with np.errstate(all="ignore"):
        limit = real(case["distance"]) * real(case["distance"])
        x, y = ((boxes[:, :2] + boxes[:, 2:]) * real(0.5)).T
        value = np.where(np.isnan(scores), 0, -scores)
        for i in np.lexsort((-index if high else index, value, np.isnan(scores))):
            keep += [] if gone[i] else [i]
            if chained or not gone[i]:
                square = (x[i] - x) * (x[i] - x) + (y[i] - y) * (y[i] - y)
                gone |= square <= limit if inclusive else square < limit
    return np.array(sorted(keep) if by_index else keep, np.int64)


OPNAME = combine(model, (
    trait("inclusive", "a centre at the distance itself is removed", inclusive=True),
    trait("ties-high", "of equal scores the higher index is first", high=True),
    trait("chained", "a box that was itself removed removes others", chained=True),
    trait("by-index", "the kept boxes come by index, not by score", by_index=True),
))


OPS = (
    Op("opname", reference.opname, "greedy, by score, ties by index, NaN last; a centre "
       "at the distance itself is kept", OPNAME, 3, arguments=opname),
)
