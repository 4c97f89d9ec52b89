"""Works of matching: the anchors of an FPN."""

from functools import partial

import roikit.ops as ops

from .. import inputs
from ..work import Cost, Work, made, plain, size_of
from ._boxes import PAIR, TIMES_ANCHORS, everywhere, goals

__all__ = ["works"]


def matching_peers(peers):
    """The matcher of each peer that has one, after the matrix of IoUs that it wants."""
    tv, d2 = peers.get("torchvision"), peers.get("detectron2")
    theirs = {}
    if tv:
        from torchvision.models.detection._utils import Matcher
        rule = Matcher(0.7, 0.3, allow_low_quality_matches=True)
        theirs["torchvision"] = plain(lambda a, t: rule(tv.ops.box_iou(t, a)))
    if d2:
        from detectron2.modeling.matcher import Matcher as Matcher2
        from detectron2.structures import Boxes, pairwise_iou
        rule2 = Matcher2([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True)
        theirs["detectron2"] = lambda a, t: partial(lambda a, t: rule2(pairwise_iou(t, a)), Boxes(a), Boxes(t))
    return theirs


def works(peers, device):
    theirs = matching_peers(peers)
    for times in TIMES_ANCHORS:
        anchors = inputs.anchors().repeat(times, 1)
        yield Work("matching", f"match {len(anchors)} x 50", made(anchors, inputs.boxes(50, 32, 400, seed=2)),
                   plain(lambda a, t: ops.match_boxes(a, t, 0.7, 0.3)), theirs,
                   lambda given, out: Cost(size_of(given), size_of(out), PAIR * len(given[0]) * len(given[1])),
                   f"boxes read, matches written, no matrix; {PAIR} operations a pair", goals(60, 10),
                   **everywhere(times == 1))
