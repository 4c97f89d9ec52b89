"""Works of opname: what an RPN hands over. No peer has it."""

import roikit.ops as ops

from .. import inputs
from ..work import Work, made, plain
from ._boxes import everywhere

__all__ = ["works"]

# (boxes, centres, of --quick and the CPU)
CLUSTERS = ((1000, 100, True), (4000, 100, True), (20_000, 1000, False))


def best(boxes, scores):
    return ops.opname(boxes, scores, 16.0)


def works(peers, device):
    for n, centres, standard in CLUSTERS:
        given = made(*inputs.clusters(n, centres))
        yield Work("opname", f"opname {n}", given, plain(best), cost=None,
                   **everywhere(standard))
