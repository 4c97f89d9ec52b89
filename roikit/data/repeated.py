"""Objects that an annotation file has more than once, as files that were joined with themselves do."""

from roikit.data.instances import has_mask
from roikit.data.store.named import repeatable
from roikit.data.store.records import Records

__all__ = ["repeated_objects"]


def repeated_objects(annotations):
    """The places of annotations that are an earlier one again: all fields are equal but ``id`` and ``area``.

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
            key = (repr(record.get("image_id")), repr(record.get("category_id")), repr(record.get("bbox")))
            groups.setdefault(key, []).append(place)
    found = []
    for places in groups.values():
        seen = set()
        for place in places if len(places) > 1 else ():
            text = repr({name: value for name, value in annotations[place].items() if name not in ("id", "area")})
            if text in seen:
                found.append(place)
            seen.add(text)
    return sorted(found)
