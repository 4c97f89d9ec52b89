"""Which parts of a detector torch.compile makes graphs of: the network, not what chooses among boxes.

A detector has functions of three kinds: those with layers are left to torch.compile and become a graph each; those that
lead from one to the next are `between_graphs`; those that choose among boxes are `outside_graphs`.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch

from roikit.ops._opaque import opaque, skipped

__all__ = ["between_graphs", "outside_graphs"]

# torch has it from 2.7 on. Before, which cannot tell the two apart, everything is left to torch.compile.
_exporting = getattr(torch.compiler, "is_exporting", None)


def between_graphs(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which runs as it is in a compiled detector; what it calls may be compiled.

    Compiled itself, it would be cut at each call of a function outside the graphs, and each piece compiled anew for
    other numbers of images, objects and boxes, until torch gives up on them all after eight.
    """
    return function if _exporting is None else skipped(function)


def outside_graphs(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which runs as it is in a compiled detector, and so does what it calls.

    For what gives shapes that depend on data: each of them would end a graph of its own, and there is little to gain
    from a few hundred numbers. Compiled as a part of something else, it ends the graph. torch.export looks into it,
    because a program must be whole.
    """
    if _exporting is None:
        return function

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling() and not _exporting():
            torch._dynamo.graph_break()
        return function(*args, **kwargs)

    return opaque(call)
