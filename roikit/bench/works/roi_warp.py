"""Works of RoIWarp, forward and backward. No peer has it."""

import roikit.ops as ops

from .. import inputs
from ..work import Work
from ._pooling import Case, with_backward, without_gradient

__all__ = ["works"]


def works(peers, device):
    case = Case("C4 300 rois 14x14", [(256, inputs.HEIGHT // 16, inputs.WIDTH // 16)], inputs.rois(300, 32, 512, 2), 14,
                1 / 16)
    for reduce in ("max", "mean"):
        def call(x, rois, reduce=reduce):
            return ops.roi_warp(x, rois, case.size, case.scale, reduce=reduce)

        for kind, wrap in (("fwd", without_gradient), ("fwd+bwd", with_backward)):
            yield Work("roi_warp", f"roi_warp {reduce} {case.label} {kind}", case.make, wrap(call))
