"""Conventions: what an implementation may do instead of what the reference does, each with a name and a sentence."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Trait", "Variant", "combine"]


@dataclass(frozen=True)
class Variant:
    """A whole implementation that differs from the reference on purpose.

    Attributes:
        name: short, in words joined by "-"; two conventions at once are joined by " + ".
        sentence: what it does, in words.
        expected: what it gives: (case, got) -> result. ``got`` is what the function under check gave; only conventions
            that leave something open look at it (the order of equal scores, the last bits).
        needs: an argument without which it cannot be told from another; it is tried only where the function takes it.
        parts: how many conventions it joins.
    """

    name: str
    sentence: str
    expected: Callable[[dict, Any], Any]
    needs: str | None = None
    parts: int = 1


@dataclass(frozen=True)
class Trait:
    """One convention, as the keyword arguments that turn an op's model into it."""

    name: str
    sentence: str
    flags: tuple[tuple[str, Any], ...]
    needs: str | None = None
    alone: bool = False  # makes no sense beside another


def trait(name, sentence, needs=None, alone=False, **flags):
    return Trait(name, sentence, tuple(flags.items()), needs, alone)


def combine(model, traits):
    """Variants of a model: every trait alone, then every two that alter different things.

    Args:
        model: (case, got, **flags) -> result; without flags it is the reference.
        traits: the conventions.
    """
    def one(parts):
        flags = {key: value for part in parts for key, value in part.flags}
        needs = next((part.needs for part in parts if part.needs), None)
        return Variant(" + ".join(p.name for p in parts), "; ".join(p.sentence for p in parts),
                       lambda case, got: model(case, got, **flags), needs, len(parts))

    pairs = [pair for pair in itertools.combinations(traits, 2)
             if not (pair[0].alone or pair[1].alone or {k for k, _ in pair[0].flags} & {k for k, _ in pair[1].flags})]
    return tuple(one(parts) for parts in [*((t,) for t in traits), *pairs])


def rounded_apart(reference, tolerance=1e-5):
    """The convention of one who computes the reference's expression in another order or precision: float results only.

    A float array that lies within ``tolerance`` of the reference's, relative to the larger of 1 and the magnitude, is
    taken as it is.
    """
    def expected(case, got):
        wanted = reference(**case)
        if not isinstance(got, np.ndarray) or got.dtype.kind != "f" or got.shape != np.shape(wanted):
            return wanted
        with np.errstate(all="ignore"):
            near = np.abs(got - wanted) <= tolerance * np.maximum(1, np.abs(wanted))
        return np.where(near, got, wanted)

    return Variant("rounding", f"the reference's convention but for rounding: within {tolerance:g} of it", expected)
