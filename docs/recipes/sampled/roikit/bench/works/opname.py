"""Works of opname, forward and backward. No peer has it."""

import roikit.ops as ops

from .. import inputs
from ..work import Work
from ._pooling import Case, with_backward, without_gradient

__all__ = ["works"]


def works(peers, device):
    case = Case("C4 300 rois 7x7", [(256, inputs.HEIGHT // 16, inputs.WIDTH // 16)], inputs.rois(300, 32, 512, 2), 7,
                1 / 16)

    def call(x, rois):
        return ops.opname(x, rois, case.size, case.scale)

    for kind, wrap in (("fwd", without_gradient), ("fwd+bwd", with_backward)):
        yield Work("opname", f"opname {case.label} {kind}", case.make, wrap(call))
