"""`roikit.testing.table` with its signatures parsed: the ops, their functions, and examples of their arguments."""

import ast
import inspect
import math
from dataclasses import dataclass, field

import numpy as np

from roikit.testing.examples import example
from roikit.testing.table import OPS

__all__ = ["FLOORS", "KINDS", "TOLERANCES", "Function", "Op", "as_tensors", "functions", "ops"]

KINDS = ("elementwise", "sorted", "sampled", "torch")
TOLERANCES = ("exact", "bound")
FLOORS = ("reference", "kernels", "ops")
NAMES = {"log": math.log, "float32": "float32"}  # what defaults are written with


@dataclass(frozen=True)
class Function:
    """A function of an op, or a torch module.

    Attributes:
        op: the name of its op.
        name: its own.
        text: its signature as the table has it.
        signature: the same for Python; an annotation is the text of the argument's example.
        entries: (names in _core, names in _cuda) of the compiled functions that it needs.
    """

    op: str
    name: str
    text: str
    signature: inspect.Signature = field(repr=False)
    entries: tuple[tuple[str, ...], tuple[str, ...]]

    @property
    def is_module(self):
        return self.name[0].isupper()

    @property
    def varying(self):
        """Whether the size of its result depends on the data."""
        return self.signature.return_annotation == "varying"

    @property
    def words(self):
        """argument -> the word for the tensors that it takes, of the arguments that take any."""
        return {name: p.annotation for name, p in self.signature.parameters.items() if _is_word(p)}

    def arguments(self, seed=0, **options):
        """argument -> an example of it: arrays, lists of arrays, values; without what is left at its default.

        ``seed`` and ``options`` are those of `examples.example`. Two arguments of one word differ.
        """
        given = {}
        for place, (name, p) in enumerate(self.signature.parameters.items()):
            if _is_word(p):
                given[name] = example(p.annotation, 16 * seed + place, **options)
            elif p.annotation is not p.empty:
                given[name] = ast.literal_eval(p.annotation)
        return given


@dataclass(frozen=True)
class Op:
    """An op: ``name`` of its files, ``kind``, ``tolerance`` and ``functions``, torch modules among them."""

    name: str
    kind: str
    tolerance: str
    functions: tuple[Function, ...]

    @property
    def floors(self):
        return ("ops",) if self.kind == "torch" else FLOORS


def _is_word(parameter):
    if parameter.annotation is parameter.empty:
        return False
    node = ast.parse(parameter.annotation, mode="eval").body
    return isinstance(node, ast.Name | ast.Call)


def _signature(text):
    """(name, signature) of a line of the table; annotations stay text."""
    room = dict(NAMES)
    line, _, result = text.partition(" -> ")
    code = f"from __future__ import annotations\ndef {line}{f' -> {result}' if result else ''}: ..."
    exec(compile(code, f"<the table's {text}>", "exec", dont_inherit=True), room)
    function = next(thing for name, thing in room.items() if name not in NAMES and inspect.isfunction(thing))
    return function.__name__, inspect.signature(function)


def _entries(entry, name):
    if entry["kind"] == "torch" or name[0].isupper():
        return (), ()
    own = f"{name} {name}_backward" if entry["kind"] == "sampled" else name
    core, cuda = entry.get("entries", {}).get(name, (own, own))
    return tuple(core.split()), tuple(cuda.split())


def ops(table=OPS):
    """name -> `Op`, in the order of the table."""
    found = {}
    for op, entry in table.items():
        signatures = [(text, *_signature(text)) for text in entry["functions"]]
        found[op] = Op(op, entry["kind"], entry["tolerance"], tuple(
            Function(op, name, text, signature, _entries(entry, name)) for text, name, signature in signatures))
    return found


def functions(table=OPS):
    """name -> `Function` of every op, without the torch modules."""
    return {f.name: f for op in ops(table).values() for f in op.functions if not f.is_module}


def as_tensors(x):
    """Arrays, also those in lists and dicts, as tensors; anything else as it is."""
    import torch

    if isinstance(x, np.ndarray):
        return torch.from_numpy(x)
    if isinstance(x, dict):
        return {name: as_tensors(part) for name, part in x.items()}
    return [as_tensors(part) for part in x] if isinstance(x, list) else x
