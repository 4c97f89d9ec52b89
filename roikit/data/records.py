"""What a record of COCO's file must say of itself, for the data set and the doctor alike."""

from itertools import chain

__all__ = ["NEEDED", "are_plain_images", "count_of_crowds", "crowds_sentence", "fault_of", "named_twice", "names_of",
           "of_image", "repeated_sentence", "shown", "size_fault", "sizes_of", "usable_id"]

_SIDES = ("height", "width")
NEEDED = {"image": ("id", "file_name", *_SIDES), "category": ("id",),
          "annotation": ("image_id", "category_id")}
_SIDE = 2**16  # two sides below that make fewer pixels than
_MOST_PIXELS = 2**32  # more than these no run-length code of COCO's counts


def usable_id(number):
    """Whether an id is an int of 64 bits."""
    return type(number) is int and -2**63 <= number < 2**63


def fault_of(record, what):
    """What makes a record of no use, or None.

    Args:
        record: an entry of the list of "image", "category" or "annotation" records of `load_annotations`.
        what: which of these.

    Returns:
        None; or (kind, sentence), the doctor's kind of finding and what is wrong, in words.
    """
    if (what == "annotation" and type(record) is dict and usable_id(record.get("image_id"))
            and usable_id(record.get("category_id"))):
        return None  # at once, for there may be a million of them
    if (what == "image" and type(record) is dict and type(name := record.get("file_name")) is str and name.isascii()
            and _names_a_file(name) and type(height := record.get("height")) is int
            and type(width := record.get("width")) is int and 0 < height < _SIDE and 0 < width < _SIDE
            and usable_id(record.get("id"))):
        return None
    if not isinstance(record, dict):
        return "malformed-record", f"it must be a dict, got {type(record).__name__}"
    missing = [field for field in NEEDED[what] if record.get(field) is None]
    if missing == ["height", "width"]:
        return "missing-field", ("it has no height and no width, and there is no file of it that can be read to tell "
                                 "them")
    if missing:
        return "missing-field", f"it has no {' and no '.join(missing)}"
    for field in ("id",) if what != "annotation" else ("image_id", "category_id"):
        if not usable_id(record[field]):
            return "malformed-id", f"its {field} must be a whole number, got {shown(record[field])}"
    return _image_fault(record) if what == "image" else None


def are_plain_images(records):
    """Whether it is seen at once that no image record has a fault, for there may be a hundred thousand."""
    if not {dict}.issuperset(map(type, records)):
        return False
    names, numbers, *sides = ([record.get(field) for record in records] for field in ("file_name", "id", *_SIDES))
    if not {str}.issuperset(map(type, names)) or not {int}.issuperset(map(type, chain(numbers, *sides))):
        return False
    return (min(numbers, default=0) >= -2**63 and max(numbers, default=0) < 2**63 and {"", ".", ".."}.isdisjoint(names)
            and (text := "".join(names)).isascii() and "/" not in text
            and all(min(side, default=1) > 0 and max(side, default=1) < _SIDE for side in sides))


def _image_fault(record):
    height, width, name = record["height"], record["width"], record["file_name"]
    if not all(type(n) is int and n > 0 for n in (height, width)):
        return "malformed-size", (f"its height and width must be whole numbers from 1, got {shown(height)} and "
                                  f"{shown(width)}")
    if (sentence := size_fault(height, width)) is not None:
        return "malformed-size", sentence
    if not isinstance(name, str):
        return "malformed-file-name", f"its file_name must be text, got {shown(name)}"
    if not _names_a_file(name):
        return "malformed-file-name", f"its file_name must be the name of a file, got {shown(name)}"
    if not name.isascii():
        try:
            name.encode()
        except UnicodeEncodeError:
            return "malformed-file-name", f"its file_name must be text, got {shown(name)}"
    return None


def _names_a_file(name):
    return name.rstrip("/").rpartition("/")[2] not in ("", ".", "..")


def sizes_of(images):
    """Image id -> (height, width) of the records that have whole numbers for both; the others are passed over."""
    return {r["id"]: (height, width) for r in images if isinstance(r, dict) and type(r.get("id")) is int
            and type(height := r.get("height")) is int and height > 0
            and type(width := r.get("width")) is int and width > 0}


def of_image(table, annotation):
    """What a dict by image ids has for an annotation; None for one that names no image in it."""
    number = annotation.get("image_id") if isinstance(annotation, dict) else None
    return table.get(number) if type(number) is int else None


def size_fault(height, width):
    """What is wrong with two whole numbers from 1 as the size of an image, or None."""
    if height * width >= _MOST_PIXELS:
        return f"its height and width must make fewer than 2^32 pixels, got {shown(height)} and {shown(width)}"
    return None


def names_of(categories):
    """The names of category records, as text; the id where there is none."""
    return [str(c["id"] if c.get("name") is None else c["name"]) for c in categories]


def repeated_sentence(records, what):
    """What to say where an id is that of two records; None where all differ.

    Args:
        records: image or category records that are dicts.
        what: "image" or "category".
    """
    first = {}
    for record in records:
        number = record.get("id")
        if first.setdefault(number, record) is record:
            continue
        field = "file_name" if what == "image" else "name"
        both = [other[field] for other in (first[number], record) if isinstance(other.get(field), str)]
        of = f", of {both[0]} and of {both[1]}" if len(both) == 2 else ""
        return (f"{what} id {shown(number)} occurs twice{of}: each {what} needs its own, and its annotations the one "
                "that is meant")
    return None


def named_twice(categories):
    """Sentences about the category records that share a name."""
    ids, first = {}, {}
    for record, name in zip(categories, names_of(categories), strict=True):
        # Names that differ by blanks or the case of letters are one that was typed twice.
        ids.setdefault(first.setdefault(" ".join(name.split()).casefold(), name), []).append(record["id"])
    many = {2: "two", 3: "three"}
    return [f"{many.get(len(same), len(same))} categories are named {name}: ids {', '.join(map(str, same))}; they are "
            "told apart in training; where they are one, give their annotations one id"
            for name, same in ids.items() if len(same) > 1]


def count_of_crowds(annotations):
    """The number of annotation records that are marked as crowds."""
    if hasattr(annotations, "crowds"):  # `roikit.data.store.records.Records`, which need not be gone through
        return annotations.crowds
    return sum(isinstance(a, dict) and a.get("iscrowd") == 1 for a in annotations)


def crowds_sentence(annotations):
    """What to say where at least half of the annotations are crowds; None where fewer are."""
    crowds = count_of_crowds(annotations)
    if not crowds or 2 * crowds < len(annotations):
        return None
    return (f"{crowds} of {len(annotations)} annotations are marked as crowds (iscrowd 1), which are neither learnt "
            "nor counted as found or missed; some tools, CVAT among them, mark every mask so: set iscrowd to 0 where "
            "an annotation is one object")


def shown(value):
    """A value in a sentence: its repr, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # more digits than Python writes
        text = f"a value of type {type(value).__name__} that is too long to be written"
    return text if len(text) <= 60 else f"{text[:60]}..."
