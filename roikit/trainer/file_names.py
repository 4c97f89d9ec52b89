"""Which image of one list of file names is which of another that was written elsewhere."""

import unicodedata
from collections import Counter, defaultdict

__all__ = ["pair_file_names"]


def pair_file_names(ours, theirs):
    """Pair file names by what they end in.

    A pair is equal names, or else a name that is the end of the other by whole parts ("1.png" of "images/1.png"), the
    longest such. A backslash counts as "/", and case counts unless nothing fits.

    Args:
        ours: distinct file names.
        theirs: dict, id -> file name.

    Returns:
        dict, our name -> their id; a name that is not there is left out.

    Raises:
        ValueError: a name fits several of theirs equally well, or several names one of theirs.
    """
    found = {}
    for fold in (str, str.casefold):
        for fits in (_equal, _ending):
            # An image that has its own name already is not also that of another folder.
            taken = set(found.values())
            left = {name: _parts(name, fold) for name in ours if name not in found}
            free = {i: _parts(name, fold) for i, name in theirs.items() if i not in taken}
            found |= {name: _only(name, ids, theirs) for name, ids in fits(left, free).items() if ids}
    _refuse_shared(found, theirs)
    return found


def _parts(name, fold):
    name = fold(unicodedata.normalize("NFC", str(name))).replace("\\", "/")
    return tuple(part for part in name.split("/") if part not in ("", "."))


def _equal(ours, theirs):
    ids = defaultdict(list)
    for i, parts in theirs.items():
        ids[parts].append(i)
    return {name: ids.get(parts, []) for name, parts in ours.items()}


def _ending(ours, theirs):
    longer, whole = defaultdict(list), defaultdict(list)
    for i, parts in theirs.items():
        whole[parts].append(i)
        for k in range(1, len(parts)):
            longer[parts[k:]].append(i)

    def longest(parts):
        ends = (whole[parts[k:]] for k in range(1, len(parts)) if parts[k:] in whole)
        return longer.get(parts) or next(ends, [])

    return {name: longest(parts) for name, parts in ours.items()}


def _only(name, ids, theirs):
    if len(ids) > 1:
        several = ", ".join(str(theirs[i]) for i in ids[:3])
        raise ValueError(f"evaluate: the file name {name} of the results fits {len(ids)} images of the annotations: "
                         f"{several}")
    return ids[0]


def _refuse_shared(found, theirs):
    shared = [i for i, count in Counter(found.values()).items() if count > 1]
    if shared:
        names = [name for name, i in found.items() if i == shared[0]]
        raise ValueError(f"evaluate: the image {theirs[shared[0]]} of the annotations fits {len(names)} file names of "
                         f"the results: {', '.join(names[:3])}")
