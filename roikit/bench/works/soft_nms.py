"""Works of soft_nms, fast_nms and matrix_nms."""

import torch

import roikit.ops as ops

from .. import inputs
from ..work import Cost, Work, made, only, plain, size_of
from ._boxes import PAIR

__all__ = ["works"]

GOAL = {"cpu": ("ratio", 10)}


def works(peers, device):
    mm = peers.get("mmcv")
    for n in (1000, 4000):
        b, s = inputs.clusters(n)
        for method in ("linear", "gaussian"):
            yield Work("soft_nms", f"soft_nms {method} {n}", made(b, s),
                       plain(lambda b, s, method=method: ops.soft_nms(b, s, method=method)),
                       only(mmcv=mm and plain(lambda b, s, m=method: mm.ops.soft_nms(b, s, 0.3, 0.5, 1e-3, m))),
                       goals=GOAL)
    b, s = inputs.clusters(5000)
    classes = torch.randint(0, 80, (5000,), generator=inputs.generator(4))
    pairs = sum(int(m) * (int(m) - 1) // 2 for m in classes.bincount())
    yield Work("soft_nms", "fast_nms 5000 in 80 classes", made(b, s, classes),
               plain(lambda b, s, i: ops.fast_nms(b, s, i, 0.5)),
               cost=lambda given, out: Cost(size_of(given), size_of(out), PAIR * pairs),
               counts=f"{PAIR} operations a pair of a class; the sorting is left out")
    yield Work("soft_nms", "matrix_nms 5000 in 80 classes", made(b, s, classes), plain(ops.matrix_nms),
               cost=lambda given, out: Cost(size_of(given), size_of(out), PAIR * pairs),
               counts=f"{PAIR} operations a pair of a class; the sorting is left out")
