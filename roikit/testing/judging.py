"""What it takes to judge an op: its reference, what is drawn for it, how near is near enough, what others do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from roikit.testing.variants import Variant

__all__ = ["Op", "difference", "per_dtype"]


@dataclass(frozen=True)
class Op:
    """One op: what it must give, how near, and what else people give.

    Attributes:
        name: of the function on roikit's floors.
        reference: the specification.
        sentence: the conventions of the reference, in words.
        variants: the others.
        positional: how many arguments are passed by place; the rest by name.
        tolerance: (case, expected) -> the error allowed, an array or number; None where the op is exact.
        arrays: whether arguments are arrays that torch can hold, too.
        arguments: awkward -> a hypothesis strategy for the arguments, a dict in their order; `draws` says what awkward
            ones are.
        room: of an op that roikit has exactly and others cannot, what its tolerance is, in words.
    """

    name: str
    reference: Callable[..., Any]
    sentence: str
    variants: tuple[Variant, ...]
    positional: int
    tolerance: Callable[[dict, Any], Any] | None = None
    arrays: bool = True
    arguments: Callable[[bool], Any] | None = None
    room: str = ""


def per_dtype(single, double, relative=False):
    """A tolerance for each dtype, of results as they are or ``relative`` to the last one's magnitude."""
    def bound(case, expected):
        allowed = {"float32": single, "float64": double}[str(expected[-1].dtype if relative else expected.dtype)]
        return allowed * np.maximum(np.abs(expected[-1]), 1e-30) if relative else allowed
    return bound


def _kind(array):
    return {"u": "integer", "i": "integer", "f": "float", "b": "bool"}.get(array.dtype.kind, str(array.dtype))


def difference(got, expected, tolerance=None):
    """Why ``got`` is not ``expected``, in words, or None where it is.

    Args:
        got: an array, or a tuple, list or dict of what the reference gives.
        expected: the same from the reference.
        tolerance: the largest |error| of float values, an array like ``expected`` or a number; None means equal. NaN
            equals NaN. Widths of integers and floats are not compared; got is rounded to the dtype of expected.
    """
    if isinstance(expected, (tuple, list)):
        if not isinstance(got, (tuple, list)) or len(got) != len(expected):
            return f"a {type(expected).__name__} of {len(expected)} expected"
        reasons = (difference(g, e, tolerance) for g, e in zip(got, expected, strict=True))
        return next((f"result {i}: {why}" for i, why in enumerate(reasons) if why), None)
    if isinstance(expected, dict):
        if not isinstance(got, dict) or not {"size", "counts"} <= set(got):
            return "a dict of size and counts expected"
        counts = got["counts"].encode("ascii") if isinstance(got["counts"], str) else got["counts"]
        if [int(side) for side in got["size"]] != expected["size"]:
            return f"size {got['size']} where {expected['size']} is expected"
        return None if counts == expected["counts"] else "the run lengths differ"
    if not isinstance(got, np.ndarray):
        return f"an array expected, got {type(got).__name__}"
    if got.shape != expected.shape:
        return f"shape {got.shape} where {expected.shape} is expected"
    if _kind(got) != _kind(expected) and got.size:
        return f"{_kind(got)} values where {_kind(expected)} values are expected"
    with np.errstate(all="ignore"):
        got = got.astype(expected.dtype)
        same = got == expected
        if expected.dtype.kind == "f":
            same |= np.isnan(got) & np.isnan(expected)
            if tolerance is not None:
                same |= np.abs(got.astype(np.float64) - expected.astype(np.float64)) <= tolerance
    if same.all():
        return None
    place = tuple(int(i) for i in np.argwhere(~same)[0])
    where = "[" + ", ".join(map(str, place)) + "]" if place else ""
    return (f"{int((~same).sum())} of {same.size} values differ; at {where} {got[place]!s} where {expected[place]!s} "
            "is expected")
