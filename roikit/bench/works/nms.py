"""Works of nms: what an RPN hands over, boxes that hardly meet, classes."""

from functools import partial

import torch

import roikit.ops as ops

from .. import inputs
from ..work import Cost, Work, made, only, plain, size_of
from ._boxes import PAIR, everywhere, goals

__all__ = ["works"]

# (boxes, centres, of --quick and the CPU, the CPU's goal)
CLUSTERS = ((1000, 100, True, 20), (4000, 100, True, 25), (12000, 100, True, 25), (100_000, 1000, False, None))
BATCHES = ((5000, True), (50_000, False))


def kept_pairs(b, scores, *rest):
    """Cost of nms without culling: each kept box meets every later one, of its class."""
    kept, classes = rest[-1], rest[0] if len(rest) > 1 else torch.zeros(len(scores), device=scores.device)
    order = scores.argsort(descending=True, stable=True)
    is_kept = torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
    is_kept[kept] = True
    pairs = 0
    for c in classes.unique():
        mine = order[classes[order] == c]
        later = torch.arange(len(mine) - 1, -1, -1, device=mine.device)
        pairs += int(later[is_kept[mine]].sum())
    return Cost(size_of([b, scores, *rest[:-1]]), size_of(kept), PAIR * pairs)


def nms_peers(peers, threshold):
    tv, mm = peers.get("torchvision"), peers.get("mmcv")
    return only(torchvision=tv and plain(lambda b, s: tv.ops.nms(b, s, threshold)),
                mmcv=mm and plain(lambda b, s: mm.ops.nms(b, s, threshold)))


def works(peers, device):
    tv, d2, mm = (peers.get(name) for name in ("torchvision", "detectron2", "mmcv"))
    counts = f"{PAIR} operations for each kept box and later box of its class; the sorting is left out"

    def cost(given, kept):
        return kept_pairs(*given, kept)

    def single(name, b, s, threshold, **more):
        return Work("nms", name, made(b, s), plain(lambda b, s: ops.nms(b, s, threshold)),
                    nms_peers(peers, threshold), cost, counts, **more)

    for n, centres, standard, goal in CLUSTERS:
        b, s = inputs.clusters(n, centres)
        yield single(f"nms {n} thr 0.7", b, s, 0.7, goals=goals(goal, 2), **everywhere(standard))
    scores = torch.rand(4000, generator=inputs.generator(9))
    yield single("nms 4000 sparse thr 0.5", inputs.boxes(4000, 8, 64, seed=3), scores, 0.5, goals=goals(25))
    if d2:
        from detectron2.layers import batched_nms as d2_batched
    for n, standard in BATCHES:
        b, s = inputs.clusters(n, n // 50)
        levels = torch.arange(5).repeat_interleave(n // 5)
        classes = torch.randint(0, 80, (n,), generator=inputs.generator(4))
        for label, index, threshold, goal in (("5 levels", levels, 0.7, goals(10)),
                                              ("80 classes", classes, 0.5, goals(8, 5))):
            def batched(function, b, s, i, threshold=threshold):
                return function(b, s, i, threshold)

            rule = {"type": "nms", "iou_threshold": threshold}
            yield Work("nms", f"batched_nms {n} in {label}", made(b, s, index),
                       plain(partial(batched, ops.batched_nms)),
                       only(torchvision=tv and plain(partial(batched, tv.ops.batched_nms)),
                            detectron2=d2 and plain(partial(batched, d2_batched)),
                            mmcv=mm and plain(lambda b, s, i, rule=rule: mm.ops.batched_nms(b, s, i, dict(rule)))),
                       cost, counts, goal, **everywhere(standard))
