"""Mends image and category records, and which of them the annotations belong to."""

from roikit.data.findings import counted
from roikit.data.image_folder import missing_sentence
from roikit.data.records import usable_id

__all__ = ["categories_from_ids", "with_number_ids", "without_missing_files", "without_strangers"]

_HIGH = 2**62  # numbers above are not counted on from, for ids have 64 bits
_LISTS = (("images", "image_id", "image"), ("categories", "category_id", "category"))


def categories_from_ids(content, done):
    """The content with a list of categories, of those that annotations name."""
    used = {a.get("category_id") for a in content["annotations"]
            if isinstance(a, dict) and type(a.get("category_id")) in (int, str)}
    named = sorted(used, key=lambda i: (type(i) is str, i))
    done.append(f"listed {counted(len(named), 'category')} by the ids that are used, {', '.join(map(str, named))}: "
                "write their names into the file")
    return {**content, "categories": [{"id": i, "name": str(i)} for i in named]}


def _is_strange(number):
    """Whether an id is text, a fraction, or an int of more than 64 bits."""
    return type(number) in (str, bytes, float, int, bool) and not usable_id(number)


def with_number_ids(content, done):
    """The content with whole numbers for ids of images and categories that are none, in the annotations as well."""
    for key, field, what in _LISTS:
        records = content[key]
        strange = [r["id"] for r in records if isinstance(r, dict) and _is_strange(r.get("id"))]
        if not strange or len(set(strange)) < len(strange):
            continue
        used = {r["id"] for r in records if isinstance(r, dict) and usable_id(r.get("id"))}
        number_of, number = {}, max((number for number in used if number < _HIGH), default=0)
        for old in strange:
            number += 1
            number_of[old] = number
        content = {**content,
                   key: [{**r, "id": number_of[r["id"]]} if isinstance(r, dict) and _is_strange(r.get("id"))
                         else r for r in records],
                   "annotations": [{**a, field: number_of[a[field]]} if isinstance(a, dict) and _is_strange(
                       a.get(field)) and a[field] in number_of else a for a in content["annotations"]]}
        done.append(f"numbered {counted(len(strange), what)} whose ids were no whole numbers")
    return content


def without_strangers(content, done):
    """The content without annotations of images that it does not list."""
    listed = {r["id"] for r in content["images"] if isinstance(r, dict) and usable_id(r.get("id"))}
    kept = [a for a in content["annotations"] if not isinstance(a, dict) or not usable_id(a.get("image_id"))
            or a["image_id"] in listed]
    if len(kept) == len(content["annotations"]):
        return content
    done.append(f"took out {counted(len(content['annotations']) - len(kept), 'annotation')} of images that the file "
                "does not list")
    return {**content, "annotations": kept}


def without_missing_files(content, folder, done):
    """The content without the images whose files are missing, and their annotations; itself where all are."""
    missing = {r["id"]: r["file_name"] for r in content["images"] if isinstance(r, dict) and usable_id(r.get("id"))
               and isinstance(r.get("file_name"), str) and not folder.holds(r["file_name"])}
    if not missing or len(missing) == len(content["images"]):
        return content
    sentence = missing_sentence(list(missing.values()), len(content["images"]))
    done.append(f"took out the images without a file, and their annotations: {sentence}")
    return {**content,
            "images": [r for r in content["images"] if not isinstance(r, dict) or r.get("id") not in missing],
            "annotations": [a for a in content["annotations"]
                            if not isinstance(a, dict) or a.get("image_id") not in missing]}
