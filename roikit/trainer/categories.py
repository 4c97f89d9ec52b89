"""Which category of one file is which of another: by name where both have names, else by id."""

import unicodedata
from collections.abc import Hashable
from dataclasses import dataclass, field

from roikit.data.findings import counted

__all__ = ["Pairing", "pair_categories"]


@dataclass(frozen=True)
class Pairing:
    """How one list of categories goes with another.

    Attributes:
        ids: for each of our categories, in their order, the id that it has among theirs, or None where it is not there.
        by: "name" or "id".
        moved: (our category, their category) of the pairs whose id or name differs, as text.
        ours, theirs: names of the categories that are in one of the lists only.
        same_id: (our name, their name, id) of those of them that have one id, say a category that was renamed.
        sides: what the two lists are called, say ("the model", "the file").
    """

    ids: list[Hashable | None]
    by: str
    moved: list[tuple[str, str]]
    ours: list[str]
    theirs: list[str]
    same_id: list[tuple[str, str, Hashable]] = field(default_factory=list)
    sides: tuple[str, str] = ("the model", "the file")

    @property
    def differ(self):
        """Whether the two lists differ at all; where they do not, there is nothing to say."""
        return bool(self.moved or self.ours or self.theirs)

    def text(self):
        """How they were paired and what is in one only, in one line."""
        paired = sum(i is not None for i in self.ids)
        parts = [f"{counted(paired, 'category')} of {self.sides[0]} and {self.sides[1]} "
                 f"{'is' if paired == 1 else 'are'} paired by {self.by}"]
        if self.moved:
            parts[0] += ": " + _some([f"{our} is {their}" for our, their in self.moved])
        parts += [f"only in {side}: {_some(names)}"
                  for side, names in zip(self.sides, (self.ours, self.theirs), strict=True) if names]
        if self.same_id:
            parts.append(_some([f"{our} and {their} have one id, {i}" for our, their, i in self.same_id]))
        return "; ".join(parts)


def pair_categories(ours, theirs, *, sides=("the model", "the file")):
    """Pair two lists of categories.

    Names decide where every category of both lists has one, no list has one twice and at least one is in both; they are
    compared without regard to case, to space around them and to how accents are composed, unless that makes two of one
    list equal. Names that are the text of their own ids, as a list without names gets them, count only where the other
    list has the same. Everywhere else ids decide.

    Args:
        ours, theirs: lists of {"id", "name"}; the name may be missing.
        sides: what the two lists are called in the text.

    Returns:
        Pairing.
    """
    for key in (_folded, str):
        own, other = _by_name(ours, key), _by_name(theirs, key)
        if own and other and own.keys() & other.keys() and (
                own.keys() == other.keys() or not (_mere_ids(ours) or _mere_ids(theirs))):
            by = "name"
            break
    else:
        by, own, other = "id", {c["id"]: c for c in ours}, {c["id"]: c for c in theirs}
    pairs = [(c, other.get(k)) for k, c in own.items()]
    left = {c["id"]: c for k, c in other.items() if k not in own}
    return Pairing(
        ids=[None if their is None else their["id"] for _, their in pairs], by=by,
        moved=[(_shown(our), _shown(their)) for our, their in pairs if their is not None and _differ(our, their)],
        ours=[_name(our) for our, their in pairs if their is None],
        theirs=[_name(c) for c in left.values()],
        same_id=[(_name(our), _name(left[our["id"]]), our["id"])
                 for our, their in pairs if their is None and our["id"] in left],
        sides=tuple(sides))


def _by_name(categories, key):
    """Name -> category in the list's order, or None where a name is missing or there twice."""
    if not all(isinstance(c.get("name"), str) and c["name"].strip() for c in categories):
        return None
    named = {key(c["name"]): c for c in categories}
    return named if len(named) == len(categories) else None


def _mere_ids(categories):
    return all(c["name"].strip() == str(c["id"]) for c in categories)


def _folded(name):
    return unicodedata.normalize("NFC", name).strip().casefold()


def _differ(our, their):
    named = our.get("name") is not None and their.get("name") is not None
    return our["id"] != their["id"] or (named and _folded(str(our["name"])) != _folded(str(their["name"])))


def _name(category):
    return str(category.get("name") or category["id"])


def _shown(category):
    return f"{category['name']} ({category['id']})" if category.get("name") else str(category["id"])


def _some(words):
    return ", ".join(words[:8]) + (f" and {len(words) - 8} more" if len(words) > 8 else "")
