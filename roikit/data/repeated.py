"""Objects that an annotation file has more than once, as files that were joined with themselves do."""

from roikit.data.instances import has_mask
from roikit.data.store.named import repeatable
from roikit.data.store.records import Records

__all__ = ["repeated_objects"]

_WHOLE = 2**53  # below, every whole number is a float


def repeated_objects(annotations):
    """The places of annotations that are an earlier one again: all fields are equal but ``id`` and ``area``; 3 is 3.0.

    Args:
        annotations: list of annotation records, or `Records`; what is no dict, or has neither box nor mask, is passed
            over.

    Returns:
        list of int, ascending.
    """
    if isinstance(annotations, Records):
        places = repeatable(annotations)
        found = repeated_objects(list(annotations.of_rows(annotations.places[places])))
        return places[found].tolist() if found else []
    groups = {}
    for place, record in enumerate(annotations):
        if isinstance(record, dict) and (record.get("bbox") or has_mask(record)):
            # Few have these in common, and only their masks are compared.
            key = tuple(repr(_in_floats(record.get(name))) for name in ("image_id", "category_id", "bbox"))
            groups.setdefault(key, []).append(place)
    found = []
    for places in groups.values():
        seen = set()
        for place in places if len(places) > 1 else ():
            text = repr({name: _in_floats(value) for name, value in annotations[place].items()
                         if name not in ("id", "area")})
            if text in seen:
                found.append(place)
            seen.add(text)
    return sorted(found)


def _in_floats(value):
    """A value with its whole numbers as floats, as columns have them, and 0.0 for -0.0."""
    if type(value) is list:
        return [_in_floats(one) for one in value]
    if type(value) is float or type(value) is int and -_WHOLE < value < _WHOLE:
        return value + 0.0
    return {name: _in_floats(one) for name, one in value.items()} if type(value) is dict else value
