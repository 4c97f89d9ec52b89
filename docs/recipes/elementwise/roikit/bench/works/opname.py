"""Works of opname: the anchors of an FPN. No peer has it."""

import roikit.ops as ops

from .. import inputs
from ..work import Work, made, plain
from ._boxes import TIMES_ANCHORS, everywhere

__all__ = ["works"]


def works(peers, device):
    for times in TIMES_ANCHORS:
        boxes = inputs.anchors().repeat(times, 1)
        name = f"opname {len(boxes)}"
        yield Work("opname", name, made(boxes), plain(ops.opname),
                   **everywhere(times == 1))
