"""What a work is: its inputs, who does it, and what it must cost at least."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch

__all__ = ["Cost", "Work", "forward", "made", "only", "plain", "size_of", "tensors"]


@dataclass
class Cost:
    """What any way of doing a work must do.

    Attributes:
        reads, writes: bytes.
        operations: arithmetic on one lane of a vector; a multiplication with an addition is one.
    """

    reads: int = 0
    writes: int = 0
    operations: int = 0


def tensors(x):
    """The tensors in nested results."""
    if isinstance(x, torch.Tensor):
        yield x
    elif isinstance(x, (list, tuple)):
        for part in x:
            yield from tensors(part)


def size_of(x):
    """Bytes of the tensors in nested results."""
    return sum(t.numel() * t.element_size() for t in tensors(x))


def moved(inputs, result):
    return Cost(size_of(inputs), size_of(result))


@dataclass
class Work:
    """One line of the table.

    Attributes:
        op: the op's name, as its page has it.
        name: the second column.
        make: device -> the inputs, a tuple.
        ours: inputs -> the call to be timed; what need not be timed is done before.
        peers: name -> the same for each peer; without those that are not here.
        cost: (inputs, result) -> Cost, or None where no floor is known.
        counts: what the floor counts, in words.
        goals: device -> ("ratio", at least) or ("floor", at most times it), as the project set itself.
        devices: where the work is done.
        quick: one of those of --quick.
        host: the result is in the host's memory: always timed by the wall clock.
        note: what the reader of the row must know of the rivals.
    """

    op: str
    name: str
    make: Callable
    ours: Callable
    peers: dict = field(default_factory=dict)
    cost: Callable | None = moved
    counts: str = "inputs read once, result written once"
    goals: dict = field(default_factory=dict)
    devices: tuple = ("cpu", "cuda")
    quick: bool = True
    host: bool = False
    note: str = ""


def plain(fn):
    """A rival that has nothing to prepare."""
    return lambda *inputs: partial(fn, *inputs)


def made(*parts):
    """``make`` for inputs that exist on the host; tensors go to the device."""
    return lambda device: tuple(x.to(device) if isinstance(x, torch.Tensor) else x for x in parts)


def forward(fn):
    """A rival without gradients."""
    def prepare(*inputs):
        inputs = [x.detach() for x in inputs]
        return lambda: fn(*inputs)
    return prepare


def only(**peers):
    """The peers that are here: those whose value is not None."""
    return {name: prepare for name, prepare in peers.items() if prepare}
