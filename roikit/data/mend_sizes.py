"""Mends images whose files have another size than the record says: turned, swapped, scaled, or told wrongly."""

import numpy as np

from roikit.data.findings import counted
from roikit.data.images import open_image
from roikit.data.instances import has_mask
from roikit.data.moved import moved, scaling, unturned
from roikit.data.records import of_image, sizes_of
from roikit.data.turned import is_swapped, is_turned

__all__ = ["moved_or_same", "on_stored_pixels"]

# How far, in pixels, annotations may reach over the border of the picture that they were made on.
_FREE = 2
# Of fewer objects nothing is concluded from where they lie.
_FEWEST = 10


def moved_or_same(annotation, move, fields=None):
    """The annotation moved; itself where a field is malformed, which stays for the doctor to name."""
    try:
        return moved(annotation, move) if fields is None else moved(annotation, move, fields)
    except (ValueError, TypeError, OverflowError):
        return annotation


def on_stored_pixels(content, folder, done):
    """The content with images that have the size of their files: turned as EXIF says, or scaled."""
    moves, sizes, other, swapped = {}, {}, {}, {}
    for record in content["images"]:
        if not isinstance(record, dict) or not sizes_of([record]):
            continue
        try:
            header = open_image(folder.path / record["file_name"])
        except (OSError, ValueError, TypeError, KeyError):
            continue
        if is_turned(header, record):
            moves[record["id"]] = unturned(header)
        elif is_swapped(header, record):
            swapped[record["id"]] = header
            continue
        elif header.orientation < 5 and (header.height, header.width) != (record["height"], record["width"]):
            other[record["id"]] = header
            continue
        else:
            continue
        sizes[record["id"]] = header
    if moves:
        done.append(f"turned the annotations of {counted(len(moves), 'image')} back to the pixels as stored, "
                    "which EXIF has viewers turn")
    scaled, kept = _resized(content, other)
    if scaled:
        done.append(f"scaled the annotations of {counted(len(scaled), 'image')} to the size of the file")
    fitting = {number: header for number, header in swapped.items() if _fits(content, number, header)}
    if fitting:
        done.append(f"swapped width and height of {counted(len(fitting), 'image')}, as the files have them")
    if kept:
        done.append(f"wrote the size of the file for {counted(len(kept), 'image')}, whose annotations fit it")
    fitting |= kept
    moves, sizes = moves | scaled, sizes | fitting | {number: other[number] for number in scaled}
    if not sizes:
        return content

    def placed(annotation):
        move = of_image(moves, annotation)
        if move is None:
            return annotation
        found = moved_or_same(annotation, move)
        if annotation["image_id"] in scaled and found is not annotation:
            found.pop("area", None)
        return found

    def sized(record):
        header = sizes.get(record["id"]) if sizes_of([record]) else None
        return record if header is None else {**record, "height": header.height, "width": header.width}

    return {**content, "annotations": [placed(a) for a in content["annotations"]],
            "images": [sized(r) for r in content["images"]]}


def _resized(content, headers):
    """What is to become of images whose files have another size than the record says.

    The annotations are those of the record, and to be scaled, where coordinates reach beyond the file and not beyond
    the record, or RLEs are of the record's size; they are those of the file where it is the other way. Where they reach
    beyond neither, and there are not a few, they would fill the larger picture: they are of the smaller one.

    Args:
        headers: image id -> Header of these.

    Returns:
        dict image id -> Move of the annotations that are to be scaled; dict image id -> Header where the size alone is
        to be written. Both are empty where nothing is shown.
    """
    sizes, count, beyond_file, beyond_record = sizes_of(content["images"]), 0, False, False
    for annotation in content["annotations"]:
        number = annotation.get("image_id") if isinstance(annotation, dict) else None
        if type(number) is not int or number not in headers:
            continue
        header, record, reach = headers[number], sizes[number], _reach(annotation)
        count += bool(reach.any())
        own = annotation["segmentation"].get("size") if isinstance(annotation.get("segmentation"), dict) else None
        beyond_file |= own == [*record] or bool((reach > np.array([header.width, header.height]) + _FREE).any())
        beyond_record |= own == [header.height, header.width] or bool((reach > np.array(record[::-1]) + _FREE).any())
    smaller = {h.height * h.width < sizes[i][0] * sizes[i][1] for i, h in headers.items()}
    if not beyond_file and not beyond_record and count >= _FEWEST and len(smaller) == 1:
        beyond_file, beyond_record = not next(iter(smaller)), next(iter(smaller))
    if beyond_record and not beyond_file:
        return {}, headers
    return {number: move for number, header in headers.items()
            if (move := _scaled(sizes[number], header)) is not None} if beyond_file and not beyond_record else {}, {}


def _scaled(size, header):
    """The Move from a size to that of the file; None where the two are not alike in shape."""
    height, width = size
    y_scale, x_scale = header.height / height, header.width / width
    # A side is whole, so the scales of the two differ by up to half a pixel of it.
    slack = max(1, y_scale)
    return scaling(size, y_scale, x_scale) if abs(y_scale - x_scale) * max(height, width) <= slack else None


def _fits(content, number, header):
    """Whether all coordinates of an image lie within its file."""
    own = [a for a in content["annotations"] if isinstance(a, dict) and a.get("image_id") == number]
    return all((_reach(a) <= np.array([header.width, header.height]) + 1).all() for a in own) and all(
        list(a["segmentation"].get("size", ())) == [header.height, header.width] for a in own
        if isinstance(a.get("segmentation"), dict))


def _reach(annotation):
    """(2,) the largest x and y of an annotation; 0 where none can be read."""
    try:
        x, y, w, h = np.asarray(annotation.get("bbox") or [0, 0, 0, 0], np.float64)
        reach = [x + w, y + h]
        if has_mask(annotation) and isinstance(annotation["segmentation"], list):
            for ring in annotation["segmentation"]:
                reach = [max(reach[0], *ring[0::2]), max(reach[1], *ring[1::2])]
    except (TypeError, ValueError, OverflowError):
        return np.zeros(2)
    return np.array(reach) if np.isfinite(reach).all() else np.zeros(2)
