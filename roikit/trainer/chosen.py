"""Which files and which images a part of the data is: those of a source, of a fraction, or the first of them."""

import os

from roikit.data.layouts import find_source, parts_of
from roikit.data.split import split_ids

__all__ = ["chosen_ids", "is_choosy", "part_of_source", "val_beside"]


def part_of_source(source, part):
    """(annotations, images) of a file or folder of any layout; of one with parts, those of the part.

    Args:
        source: path.
        part: "train" or "val".

    Raises:
        OSError: it is not there, or its images are not found.
        ValueError: it is in no layout that is known, has other parts than this, or has it in several places.
    """
    parts = parts_of(source)
    if parts and part not in parts:
        raise ValueError(f"config: {os.fspath(source)} has no part {part}: it has {', '.join(parts)}")
    paths = parts.get(part, [source])
    if len(paths) > 1:
        raise ValueError(f"config: the part {part} of {os.fspath(source)} lies in {len(paths)} places; "
                         f"`roikit convert-data {os.fspath(source)} {part}.json --part {part}` makes one file of them")
    found = find_source(paths[0])
    return os.fspath(found.annotations), os.fspath(found.images)


def val_beside(source):
    """(annotations, images) of the val part of a source with parts; None where it has none of its own."""
    parts = parts_of(source)
    if "val" not in parts or parts["val"] == parts.get("train"):
        return None
    return part_of_source(source, "val")


def is_choosy(config, part):
    """Whether a part, "train" or "val", has not all images of its files; None has."""
    return part is not None and (config.data.val.fraction, getattr(config.data, part).limit) != (None, None)


def chosen_ids(config, part, content):
    """The ids of the images that a part has of an annotation file's content; None for all.

    Args:
        config: ``TrainConfig``.
        part: "train" or "val"; None for files of no part, which have all.
        content: of `load_annotations`.
    """
    if not is_choosy(config, part):
        return None
    fraction, limit = config.data.val.fraction, getattr(config.data, part).limit
    if fraction is not None:
        ids = split_ids(content, fraction)[part == "val"]
    else:
        ids = [image.get("id") for image in content["images"] if isinstance(image, dict)]
    return sorted(number for number in ids if isinstance(number, int))[:limit]
