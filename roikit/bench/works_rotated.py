"""Works on rotated boxes."""

import torch

import roikit.ops as ops

from . import inputs
from .work import Cost, Work, made, only, plain, size_of
from .works_boxes import goals
from .works_rois import with_backward, without_gradient

PAIR = 250  # operations for the overlap of two rotated boxes
# The goal is 8 times as fast as torchvision's, which on an idle machine takes a ninth of detectron2's time.
IOU_GOAL, IOU_GOAL_WITHOUT_TORCHVISION = 8, 72
NOTE = "detectron2 computes in float32"


def torchvision_overlap(tv, device):
    """torchvision's overlap of rotated boxes, or None where this build of it has none."""
    def overlap(a, b):
        return tv.ops.box_iou(a, b, fmt="cxcywhr")

    try:
        overlap(*[torch.tensor([[2.0, 2.0, 2.0, 2.0, 0.0]], device=device)] * 2)
    except (NotImplementedError, RuntimeError, TypeError, ValueError):
        return None
    return overlap


def rotated_works(peers, device):
    tv, d2 = peers.get("torchvision"), peers.get("detectron2")
    theirs = tv and torchvision_overlap(tv, device)
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
                   f"boxes read, matrix written; {PAIR} operations for a pair that meets", goals(goal), note=NOTE)
    yield Work("rotated", "nms_rotated 2000 thr 0.5", made(*inputs.rotated_clusters(2000)),
               plain(lambda b, s: ops.nms_rotated(b, s, 0.5)),
               only(detectron2=d2 and plain(lambda b, s: nms_rotated(b, s, 0.5))),
               cost=None, goals=goals(12), note=NOTE)
    sparse = inputs.rotated(20000, 8, 24, seed=3), inputs.rotated_clusters(20000)[1]
    yield Work("rotated", "nms_rotated 20000 sparse thr 0.5", made(*sparse),
               plain(lambda b, s: ops.nms_rotated(b, s, 0.5)), cost=None, quick=False,
               note="detectron2, which compares all pairs, would take minutes")


def align_inputs(device):
    """The gradient of the output, a map of stride 4 as a leaf, RoIs."""
    g = torch.Generator(device).manual_seed(0)
    feature = torch.randn(1, 256, 200, 336, device=device, generator=g).requires_grad_()
    boxes = inputs.rotated(500, 16, 224, seed=5)
    rois = torch.cat([torch.zeros(500, 1), boxes], 1).to(device)
    return torch.randn(500, 256, 7, 7, device=device, generator=g), feature, rois


def rotated_align_works(peers, device):
    theirs = None
    if peers.get("detectron2"):
        from detectron2.layers import ROIAlignRotated
        theirs = ROIAlignRotated((7, 7), 0.25, 2)

    def ours(feature, rois):
        return ops.roi_align_rotated(feature, rois, 7, 0.25, 2)

    def fwd(given, out):
        return Cost(size_of(given[1:]), size_of(out), 16 * out.numel())

    def both(given, grads):
        return Cost(size_of(given[1:]) + size_of(given[0]), size_of(given[0]) + size_of(grads), 32 * given[0].numel())

    for kind, wrap, cost in (("fwd", without_gradient, fwd), ("fwd+bwd", with_backward, both)):
        yield Work("rotated_align", f"500 rois 7x7 {kind}", align_inputs, wrap(ours),
                   only(detectron2=theirs and wrap(theirs)), cost,
                   "map read, result written; 16 operations a value, 4 samples of 4 pixels", {"cpu": ("ratio", 8)})


def detectron2_codec():
    """detectron2's codec of rotated boxes, or None where it does not import: it wants torchvision's operators."""
    try:
        from detectron2.modeling.box_regression import Box2BoxTransformRotated
    except (ImportError, RuntimeError):
        return None
    return Box2BoxTransformRotated((1.0, 1.0, 1.0, 1.0, 1.0))


def rotated_codec_works(peers, device):
    theirs = detectron2_codec() if peers.get("detectron2") else None
    for n, classes in ((268569, 1), (1000, 91)):
        boxes, anchors = inputs.rotated(n, seed=1), inputs.rotated(n, seed=2)
        if classes == 1:
            yield Work("rotated_codec", f"encode {n}", made(boxes, anchors), plain(ops.encode_boxes_rotated),
                       only(detectron2=theirs and plain(lambda b, a: theirs.get_deltas(a, b))), goals=goals(2))
        deltas = ops.encode_boxes_rotated(boxes, anchors).repeat(1, classes)
        yield Work("rotated_codec", f"decode {n} x {classes}", made(deltas, anchors), plain(ops.decode_boxes_rotated),
                   only(detectron2=theirs and plain(theirs.apply_deltas)), goals=goals(2))
