"""Works of rotated boxes: overlaps and suppression."""

import torch

import roikit.ops as ops

from .. import inputs
from ..peers import first_line
from ..work import Cost, Work, made, only, plain, size_of
from ._boxes import goals

__all__ = ["works"]

PAIR = 250  # operations for the overlap of two rotated boxes
# The goal is 8 times as fast as torchvision's, which on an idle machine takes a ninth of detectron2's time.
IOU_GOAL, IOU_GOAL_WITHOUT_TORCHVISION = 8, 72
NOTE = "detectron2 computes in float32"


def torchvision_overlap(tv, device):
    """torchvision's overlap of rotated boxes, or None where this build of it has none; and why."""
    def overlap(a, b):
        return tv.ops.box_iou(a, b, fmt="cxcywhr")

    try:
        overlap(*[torch.tensor([[2.0, 2.0, 2.0, 2.0, 0.0]], device=device)] * 2)
    except Exception as reason:  # releases differ: no such format, no such operator, no kernel for it
        return None, f"torchvision has none: {first_line(reason)}"
    return overlap, ""


def works(peers, device):
    tv, d2 = peers.get("torchvision"), peers.get("detectron2")
    theirs, lacking = torchvision_overlap(tv, device) if tv else (None, "")
    note = "; ".join(filter(None, (NOTE, lacking)))
    goal = IOU_GOAL if theirs else IOU_GOAL_WITHOUT_TORCHVISION
    if d2:
        from detectron2.layers import nms_rotated
        from detectron2.layers.rotated_boxes import pairwise_iou_rotated
    for n, m in ((500, 500), (5000, 50)):
        first, second = inputs.rotated(n, seed=1), inputs.rotated(m, seed=2)
        yield Work("rotated", f"box_iou_rotated {n} x {m}", made(first, second), plain(ops.box_iou_rotated),
                   only(detectron2=d2 and plain(pairwise_iou_rotated),
                        torchvision=theirs and plain(theirs)),
                   lambda given, out: Cost(size_of(given), size_of(out), PAIR * int((out > 0).sum())),
                   f"boxes read, matrix written; {PAIR} operations for a pair that meets", goals(goal), note=note)
    yield Work("rotated", "nms_rotated 2000 thr 0.5", made(*inputs.rotated_clusters(2000)),
               plain(lambda b, s: ops.nms_rotated(b, s, 0.5)),
               only(detectron2=d2 and plain(lambda b, s: nms_rotated(b, s, 0.5))),
               cost=None, goals=goals(12), note=NOTE)
    sparse = inputs.rotated(20000, 8, 24, seed=3), inputs.rotated_clusters(20000)[1]
    yield Work("rotated", "nms_rotated 20000 sparse thr 0.5", made(*sparse),
               plain(lambda b, s: ops.nms_rotated(b, s, 0.5)), cost=None, quick=False,
               note="detectron2, which compares all pairs, would take minutes")
