"""Works of RoIAlign of rotated boxes, forward and backward."""

import torch

import roikit.ops as ops

from .. import inputs
from ..work import Cost, Work, only, size_of
from ._pooling import Case, rows, with_backward, without_gradient

__all__ = ["works"]


def align_inputs(device):
    """The gradient of the output, a map of stride 4 as a leaf, RoIs."""
    g = torch.Generator(device).manual_seed(0)
    feature = torch.randn(1, 256, 200, 336, device=device, generator=g).requires_grad_()
    boxes = inputs.rotated(500, 16, 224, seed=5)
    rois = torch.cat([torch.zeros(500, 1), boxes], 1).to(device)
    return torch.randn(500, 256, 7, 7, device=device, generator=g), feature, rois


def works(peers, device):
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
    yield from multiscale_works(peers, device)


STRIDES = (4, 8, 16, 32)


def multiscale_works(peers, device):
    scales = [1 / s for s in STRIDES]
    d2 = peers.get("detectron2")
    if d2:
        from detectron2.modeling.poolers import ROIPooler
        from detectron2.structures import RotatedBoxes
        pooler = ROIPooler(7, tuple(scales), 2, "ROIAlignRotated")

    def call(library):
        def align(*given):
            maps, rois = list(given[:-1]), given[-1]
            if library is ops:
                return ops.multiscale_roi_align_rotated(maps, rois, 7, scales)
            return pooler(maps, [RotatedBoxes(rois[:, 1:])])
        return align

    rois = torch.cat([torch.zeros(1000, 1), inputs.rotated(1000, 16, 800, seed=4)], 1)
    shapes = [(256, inputs.HEIGHT // s, inputs.WIDTH // s) for s in STRIDES]
    yield from rows("rotated_align", "multiscale rotated", Case("1000 rois", shapes, rois), call, only(detectron2=d2),
                    device)
