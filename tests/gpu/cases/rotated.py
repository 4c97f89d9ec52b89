"""Suppression of rotated boxes over several tiles."""

from roikit import ops

from ._case import Case, turned
from .nms import candidates, in_classes


def turned_candidates(make, **size):
    def both(seed):
        upright, *rest = make(seed, **size)
        return turned(upright, seed), *rest
    return both


CASES = [
    Case("nms_rotated", turned_candidates(candidates, n=1300), lambda b, s: ops.nms_rotated(b, s, 0.3), fixed=False),
    Case("batched_nms_rotated", turned_candidates(in_classes), lambda b, s, i: ops.batched_nms_rotated(b, s, i, 0.3),
         fixed=False),
]
