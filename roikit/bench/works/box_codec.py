"""Works of the box codec: the anchors of an FPN."""

import torch

import roikit.ops as ops

from .. import inputs
from ..work import Work, made, only, plain
from ._boxes import TIMES_ANCHORS, everywhere, goals

__all__ = ["works"]


def works(peers, device):
    tv, d2 = peers.get("torchvision"), peers.get("detectron2")
    if tv:
        from torchvision.models.detection._utils import BoxCoder
        coder = BoxCoder((1.0, 1.0, 1.0, 1.0))
    if d2:
        from detectron2.modeling.box_regression import Box2BoxTransform
        transform = Box2BoxTransform((1.0, 1.0, 1.0, 1.0))
    for times in TIMES_ANCHORS:
        one = inputs.anchors()
        n = len(one) * times
        truth, a = inputs.boxes(len(one), 32, 400, seed=2).repeat(times, 1), one.repeat(times, 1)
        deltas = (0.2 * torch.randn(len(one), 4, generator=inputs.generator(1))).repeat(times, 1)
        goal = goals(2, cuda_floor=None if times == 1 else 2)
        yield Work("box_codec", f"encode {n}", made(truth, a), plain(ops.encode_boxes),
                   only(torchvision=tv and plain(coder.encode_single),
                        detectron2=d2 and plain(lambda t, a: transform.get_deltas(a, t))),
                   goals=goal, **everywhere(times == 1))
        yield Work("box_codec", f"decode {n}", made(deltas, a), plain(ops.decode_boxes),
                   only(torchvision=tv and plain(coder.decode_single),
                        detectron2=d2 and plain(transform.apply_deltas)),
                   goals=goal, **everywhere(times == 1))
    proposals, deltas = inputs.boxes(1000), torch.randn(1000, 4 * 91, generator=inputs.generator(1))  # of a box head
    yield Work("box_codec", "decode 1000 x 91", made(deltas, proposals), plain(ops.decode_boxes),
               only(torchvision=tv and plain(coder.decode_single), detectron2=d2 and plain(transform.apply_deltas)),
               quick=False)
