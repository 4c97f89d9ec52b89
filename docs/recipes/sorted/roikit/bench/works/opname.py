"""Works of opname: what an RPN hands over. No peer has it."""

import roikit.ops as ops

from .. import inputs
from ..work import Work, made, plain
from ._boxes import everywhere

__all__ = ["works"]

# (boxes, centres, of --quick and the CPU)
CLUSTERS = ((1000, 100, True), (4000, 100, True), (20_000, 1000, False))


def works(peers, device):
    for n, centres, standard in CLUSTERS:
        b, s = inputs.clusters(n, centres)
        yield Work("opname", f"opname {n}", made(b, s), plain(lambda b, s: ops.opname(b, s, 16.0)), cost=None,
                   **everywhere(standard))
