"""A data set's images in two parts, the same every time and with each class in both.

Source: Sechidis et al. 2011, "On the stratification of multi-label data", the iterative algorithm.
"""

import hashlib
import math

__all__ = ["split_ids"]


def split_ids(content, fraction):
    """Image ids of a training part and of a validation part.

    The rarest class is dealt out first: its images go to the part that lacks most of it, for its share of that class.
    Equal cases are decided by a digest of the file name, so that neither the order in the file nor the ids matter.

    Args:
        content: of `load_annotations`.
        fraction: of the images that are to be in the validation part, above 0 and below 1.

    Returns:
        (training ids, validation ids), each ascending; each has an image at least.

    Raises:
        ValueError: there are fewer images than two.
    """
    images = {record["id"]: _digest(record) for record in content["images"]}
    if len(images) < 2:
        raise ValueError(f"data.val.fraction splits two images or more, got {len(images)}")
    classes = {number: set() for number in images}
    for item in content["annotations"]:
        if item["image_id"] in classes and item.get("iscrowd") != 1:
            classes[item["image_id"]].add(item["category_id"])
    count = min(max(math.floor(fraction * len(images) + 0.5), 1), len(images) - 1)
    room = [len(images) - count, count]
    shares = [room[0] / len(images), room[1] / len(images)]
    order = sorted(images, key=images.get)
    members = {}
    for number in order:
        for name in classes[number]:
            members.setdefault(name, []).append(number)
    left = {name: len(found) for name, found in members.items()}
    lacking = [{name: share * count for name, count in left.items()} for share in shares]
    part_of = {}
    while len(part_of) < len(order):
        rarest = min((name for name in left if left[name]), key=lambda name: (left[name], name), default=None)
        for number in order if rarest is None else members[rarest]:
            if number in part_of:
                continue
            part = part_of[number] = _wanting(room, [need.get(rarest, 0) for need in lacking], shares)
            room[part] -= 1
            for name in classes[number]:
                lacking[part][name] -= 1
                left[name] -= 1
    return tuple(sorted(number for number in order if part_of[number] == part) for part in (0, 1))


def _wanting(room, needs, shares):
    """0 or 1: the part with room that lacks most of a class, or else most images for its share; equal, the first."""
    free = [part for part in (0, 1) if room[part] > 0]
    return max(free, key=lambda part: (needs[part], room[part] / shares[part], -part))


def _digest(record):
    return hashlib.sha256(str(record["file_name"]).encode("utf-8", "replace")).hexdigest()
