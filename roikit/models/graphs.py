"""Which parts of a detector torch.compile makes graphs of: the network, not what chooses among boxes."""

import functools
from collections.abc import Callable
from typing import Any

import torch

from roikit.ops._opaque import opaque

__all__ = ["outside_graphs"]

# torch has it from 2.7 on.
_exporting = getattr(torch.compiler, "is_exporting", None)


def outside_graphs(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which a compiled detector calls as it is, between two graphs.

    For what gives shapes that depend on data: each of them would end a graph of its own and be compiled again for
    other numbers of boxes, and there is little to gain from a few hundred numbers. torch.export looks into it, because
    a program must be whole. Before torch 2.7, which cannot tell the two apart, the function is left to torch.compile.
    """
    if _exporting is None:
        return function

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling() and not _exporting():
            torch._dynamo.graph_break()
        return function(*args, **kwargs)

    return opaque(call)
