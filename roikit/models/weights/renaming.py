"""Tensor names of one library as another's: one table, read in both directions."""

import re
from collections.abc import Iterable

__all__ = ["Renaming"]

# What stands after the name of a layer.
_TENSORS = r"\.(weight|bias|running_mean|running_var|num_batches_tracked)"
_SLOT = re.compile(r"\{([a-z])(?:\+(\d))?\}")


class _Template:
    """A layer's name with numbers in it: "res{a+1}.{b}.conv{c}", where `a` counts from 0 and they count from 1."""

    def __init__(self, text: str) -> None:
        self.text = text
        parts = _SLOT.split(text)  # text, letter, offset, text, letter, ...
        self.offsets = {letter: int(offset or 0) for letter, offset in zip(parts[1::3], parts[2::3], strict=True)}
        self.pattern = re.compile("".join(
            re.escape(part) if place % 3 == 0 else rf"(?P<{part}>\d+)"
            for place, part in enumerate(parts) if place % 3 != 2) + _TENSORS)

    def numbers(self, name: str) -> dict[str, int] | None:
        """The slots' numbers in the name of a tensor, None where it is another layer's."""
        found = self.pattern.fullmatch(name)
        if found is None:
            return None
        numbers = {letter: int(found[letter]) - offset for letter, offset in self.offsets.items()}
        return None if any(n < 0 for n in numbers.values()) else numbers

    def fill(self, numbers: dict[str, int]) -> str:
        return _SLOT.sub(lambda slot: str(numbers[slot[1]] + int(slot[2] or 0)), self.text)


class Renaming:
    """Two libraries' names of the same layers.

    Args:
        pairs: (theirs, ours); `{a}` to `{z}` stand for whole numbers, `{a+1}` for one more, each once on either side.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._pairs = [(_Template(theirs), _Template(ours)) for theirs, ours in pairs]

    def ours(self, name: str) -> str:
        """A tensor's name here; their name where the table has none."""
        return _renamed(name, self._pairs)

    def theirs(self, name: str) -> str:
        """A tensor's name there; our name where the table has none."""
        return _renamed(name, ((ours, theirs) for theirs, ours in self._pairs))


def _renamed(name: str, pairs: Iterable[tuple[_Template, _Template]]) -> str:
    for old, new in pairs:
        numbers = old.numbers(name)
        if numbers is not None:
            return new.fill(numbers) + name[name.rindex("."):]
    return name
