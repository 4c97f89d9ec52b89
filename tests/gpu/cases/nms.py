"""nms over several tiles, with classes."""

from roikit import ops

from ._case import Case, boxes, classes, scores


def candidates(seed, n=2300):
    return boxes(n, seed), scores(n, seed)


def in_classes(seed, n=2100):
    return *candidates(seed, n), classes(n, seed)


CASES = [
    Case("nms", candidates, lambda b, s: ops.nms(b, s, 0.5), fixed=False),
    Case("batched_nms", in_classes, lambda b, s, i: ops.batched_nms(b, s, i, 0.5), fixed=False),
    Case("nms_padded", candidates, lambda b, s: list(ops.nms_padded(b, s, 0.5, 200))),
]
