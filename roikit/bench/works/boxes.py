"""Works of boxes: overlaps of all pairs, and the anchors clipped."""

from functools import partial

import roikit.ops as ops

from .. import inputs
from ..work import Cost, Work, made, only, plain, size_of
from ._boxes import PAIR, everywhere, goals

__all__ = ["works"]

PAIRS = ((1000, 1000, True, 15), (200_000, 50, True, 8), (3000, 3000, False, None), (2_000_000, 50, False, None))


def iou_peers(peers):
    tv, d2, mm = (peers.get(name) for name in ("torchvision", "detectron2", "mmcv"))
    if d2:
        from detectron2.structures import Boxes, pairwise_iou
    return only(torchvision=tv and plain(tv.ops.box_iou),
                detectron2=d2 and (lambda a, b: partial(pairwise_iou, Boxes(a), Boxes(b))),
                mmcv=mm and plain(mm.ops.bbox_overlaps))


def works(peers, device):
    tv = peers.get("torchvision")
    for n, m, standard, goal in PAIRS:
        if n == m:
            first, second = inputs.boxes(n, seed=1), inputs.boxes(m, seed=2)
        else:
            first = inputs.anchors().repeat(-(-n // 268_569), 1)[:n].contiguous()
            second = inputs.boxes(m, 32, 400, seed=2)
        yield Work("boxes", f"box_iou {n} x {m}", made(first, second), plain(ops.box_iou),
                   iou_peers(peers), lambda given, out: Cost(size_of(given), size_of(out), PAIR * out.numel()),
                   f"boxes read, matrix written; {PAIR} operations a pair",
                   goals(goal, cuda_floor=2 if n >= 200_000 else None), **everywhere(standard))
    for name in ("generalized_box_iou", "distance_box_iou", "complete_box_iou"):
        yield Work("boxes", f"{name} 1000 x 1000", made(inputs.boxes(1000, seed=1), inputs.boxes(1000, seed=2)),
                   plain(getattr(ops, name)),
                   only(torchvision=tv and plain(lambda a, b, name=name: getattr(tv.ops, name)(a, b))),
                   lambda given, out: Cost(size_of(given), size_of(out)), "boxes read, matrix written",
                   **everywhere(True))
    size = inputs.HEIGHT, inputs.WIDTH
    yield Work("boxes", "clip 268569 to image", made(inputs.anchors()),
               plain(lambda a: ops.clip_boxes_to_image(a, size)),
               only(torchvision=tv and plain(lambda a: tv.ops.clip_boxes_to_image(a, size))))
