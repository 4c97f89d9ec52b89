"""Annotations that call images and categories by their names where COCO has ids."""

from collections import defaultdict

__all__ = ["category_called", "with_image_ids"]


def category_called(categories):
    """A function from a name to the id of the one category that is called so, or to None.

    A name is taken as it is, or where there is none such, without its blanks around and in any case of its letters.
    """
    exact, folded = defaultdict(list), defaultdict(list)
    for category in categories:
        if isinstance(category, dict) and isinstance(category.get("name"), str):
            exact[category["name"]].append(category.get("id"))
            folded[_folded(category["name"])].append(category.get("id"))

    def called(name):
        found = exact.get(name) or folded.get(_folded(name), ())
        return found[0] if len(found) == 1 and type(found[0]) is int else None

    return called


def with_image_ids(annotations, images, taken):
    """The annotation records with the ids of the images that they call by their file names.

    Args:
        annotations: of `load_annotations`.
        images: image records.
        taken: Counter that learns what was taken for what it means, in words.
    """
    listed = {r["id"] for r in images if isinstance(r, dict) and isinstance(r.get("id"), (int, str))}

    def is_named(record):
        return isinstance(record, dict) and type(record.get("image_id")) is str and record["image_id"] not in listed

    if not any(map(is_named, annotations)):
        return annotations
    names = defaultdict(set)
    for record in images:
        if isinstance(record, dict) and isinstance(record.get("file_name"), str) and type(record.get("id")) is int:
            whole = record["file_name"].replace("\\", "/").strip()
            last = whole.rpartition("/")[2]
            for name in {whole, last, whole.rpartition(".")[0], last.rpartition(".")[0]} - {""}:
                names[name].add(record["id"])
    found = []
    for record in annotations:
        ids = names.get(record["image_id"].replace("\\", "/"), ()) if is_named(record) else ()
        if len(ids) == 1:
            record = {**record, "image_id": next(iter(ids))}
            taken["file names for image ids"] += 1
        found.append(record)
    return found


def _folded(name):
    return " ".join(name.split()).casefold()
