"""That the records of an annotation file have what every use needs of them, for the data set and conversion alike."""

from roikit.data.causes import boxes_in_place, causes_of
from roikit.data.records import are_plain_images, fault_of, repeated_sentence, shown
from roikit.data.store.columns import CATEGORY, IMAGE
from roikit.data.store.records import Records

__all__ = ["require_sound", "with_boxes_read"]

_LISTS = (("image", "images"), ("category", "categories"), ("annotation", "annotations"))


def require_sound(content, name):
    """Refuse a content of which a record lacks what it needs, or has an id that another has.

    Args:
        content: of `roikit.data.annotations.load_annotations`.
        name: who asks, for sentences.

    Raises:
        ValueError: the text names the record and what is wrong.
    """
    for what, key in _LISTS:
        for place, record in _to_look_at(content[key], what):
            if (fault := fault_of(record, what)) is not None:
                number = record.get("id") if isinstance(record, dict) else None
                called = f"at place {place}" if number is None else shown(number)
                mended = fault[0] == "malformed-id" and what != "annotation"
                raise ValueError(f"{name}: {what} {called}: {fault[1]}"
                                 + ("; `roikit doctor --mend` numbers them anew" if mended else ""))
        if what != "annotation" and (sentence := repeated_sentence(content[key], what)) is not None:
            raise ValueError(f"{name}: {sentence}")


def _to_look_at(records, what):
    """(place, record) of the records that may have a fault; of columns, those whose ids are not in these."""
    if what == "image" and are_plain_images(records):
        return ()
    return records.untold(IMAGE | CATEGORY) if isinstance(records, Records) else enumerate(records)


def with_boxes_read(content, name, passed=()):
    """A sound content with boxes in COCO's reading, and sentences about those that were in another.

    Args:
        content: of `load_annotations`, sound.
        name: who asks, for sentences.
        passed: kinds of causes that are none to who asks.

    Raises:
        ValueError: the file has a cause for which nothing can be learnt.
    """
    told = []
    for cause in causes_of(content):
        if cause.kind in passed:
            continue
        if not cause.learnable:
            raise ValueError(f"{name}: {cause.sentence}")
        content = boxes_in_place(content, cause.reading)
        told.append(f"{cause.sentence}; here they are taken so")
    return content, told
