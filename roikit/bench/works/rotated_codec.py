"""Works of the codec of rotated boxes."""

import roikit.ops as ops

from .. import inputs
from ..work import Work, made, only, plain
from ._boxes import goals

__all__ = ["works"]


def detectron2_codec():
    """detectron2's codec of rotated boxes, or None where it does not import: it wants torchvision's operators."""
    try:
        from detectron2.modeling.box_regression import Box2BoxTransformRotated
    except (ImportError, RuntimeError):
        return None
    return Box2BoxTransformRotated((1.0, 1.0, 1.0, 1.0, 1.0))


def works(peers, device):
    theirs = detectron2_codec() if peers.get("detectron2") else None
    for n, classes in ((268569, 1), (1000, 91)):
        boxes, anchors = inputs.rotated(n, seed=1), inputs.rotated(n, seed=2)
        if classes == 1:
            yield Work("rotated_codec", f"encode {n}", made(boxes, anchors), plain(ops.encode_boxes_rotated),
                       only(detectron2=theirs and plain(lambda b, a: theirs.get_deltas(a, b))), goals=goals(2))
        deltas = ops.encode_boxes_rotated(boxes, anchors).repeat(1, classes)
        yield Work("rotated_codec", f"decode {n} x {classes}", made(deltas, anchors), plain(ops.decode_boxes_rotated),
                   only(detectron2=theirs and plain(theirs.apply_deltas)), goals=goals(2))
