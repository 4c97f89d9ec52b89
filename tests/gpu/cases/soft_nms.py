"""soft_nms, fast_nms and matrix_nms over several tiles."""

from roikit import ops

from ._case import Case
from .nms import candidates, in_classes

OPTIONS = {"soft_nms": [{"method": "gaussian"}]}
CASES = [
    Case("soft_nms", candidates, lambda b, s: list(ops.soft_nms(b, s, method="gaussian")), fixed=False),
    Case("fast_nms", in_classes, lambda b, s, i: ops.fast_nms(b, s, i, 0.5), fixed=False),
    Case("matrix_nms", in_classes, lambda b, s, i: list(ops.matrix_nms(b, s, i)), fixed=False),
]
