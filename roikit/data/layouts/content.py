"""What a COCO file would hold of objects that another layout names."""

import math

import numpy as np

import roikit.masks as rle
from roikit.data.records import shown, size_fault
from roikit.data.segmentation import BoxedMask, encode

__all__ = ["content_of", "join_regions", "listed_by_name", "mask_at", "mask_of", "places_of", "ring_of"]


def content_of(records, categories, objects):
    """A COCO file's content, with ids, boxes and areas put in.

    Args:
        records: of the images, with their sizes.
        categories: records ``id`` and ``name``.
        objects: dicts ``image_id``, ``category_id`` and either ``bbox``, or ``segmentation`` (polygons, or an RLE), or
            both. A box that is missing is that around the segmentation; areas are those of its pixels inside the image,
            or else of the box.

    Returns:
        dict ``images``, ``categories``, ``annotations``.

    Raises:
        ValueError: an image has too many pixels; the text names it.
    """
    sizes = {record["id"]: (record["height"], record["width"]) for record in records}
    for record in records:
        if (sentence := size_fault(*sizes[record["id"]])) is not None:
            raise ValueError(f"image {shown(record['file_name'])}: {sentence}")
    annotations = []
    for number, item in enumerate(objects, start=1):
        segmentation = item.get("segmentation")
        box, area = item.get("bbox"), None
        if segmentation:
            around, area = _measured(segmentation, *sizes[item["image_id"]])
            box = around if box is None else box
        area = box[2] * box[3] if area is None else area
        annotations.append({"id": number, "iscrowd": 0, **item, "bbox": list(box), "area": area})
    return {"images": records, "categories": categories, "annotations": annotations}


def _measured(segmentation, height, width):
    """Box around, and pixels of, polygons or an RLE."""
    if isinstance(segmentation, dict):
        return rle.toBbox(segmentation).tolist(), int(rle.area(segmentation))
    points = np.concatenate([np.asarray(ring, np.float64) for ring in segmentation]).reshape(-1, 2)
    low, high = points.min(0), points.max(0)
    area = int(rle.area(rle.merge(rle.frPyObjects(segmentation, height, width))))
    return [*low.tolist(), *(high - low).tolist()], area


def listed_by_name(names):
    """Categories of names, and name -> id; ids are 1, 2, ... in the order of the names."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names), start=1)}
    return [{"id": number, "name": name} for name, number in numbers.items()], numbers


def join_regions(first, other, record):
    """Add the region of one object to that of another, which is changed.

    Of two upright boxes it is the box around both: a mask would have the objects left out that are boxes alone.
    """
    if all(item.keys().isdisjoint(("segmentation", "obb")) for item in (first, other)):
        boxes = np.array([first["bbox"], other["bbox"]])
        low, high = boxes[:, :2].min(0), (boxes[:, :2] + boxes[:, 2:]).max(0)
        first["bbox"] = [*low.tolist(), *(high - low).tolist()]
        return
    one, two = map(_region, (first, other))
    for field in ("bbox", "obb"):
        first.pop(field, None)
    if isinstance(one, list) and isinstance(two, list):
        first["segmentation"] = one + two
        return
    height, width = record["height"], record["width"]
    parts = [part for region in (one, two) for part in
             (rle.frPyObjects(region, height, width) if isinstance(region, list) else [_bytes(region)])]
    joined = rle.merge(parts)
    first["segmentation"] = {"size": [height, width], "counts": joined["counts"].decode("ascii")}


def _region(item):
    """Polygons or the RLE of an object's region."""
    if "segmentation" in item:
        return item["segmentation"]
    if "obb" in item:
        return [item["obb"]]
    x, y, w, h = item["bbox"]
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def _bytes(mask):
    return {"size": mask["size"], "counts": mask["counts"].encode("ascii")}


def mask_of(bitmap):
    """A bitmap (H, W) of the whole image as an RLE whose counts are text, as JSON takes them."""
    found = rle.encode(np.asfortranarray(bitmap, np.uint8))
    return {"size": [int(n) for n in found["size"]], "counts": found["counts"].decode("ascii")}


def places_of(values):
    """The pixels of each value but 0 of an image of whole numbers, all found at once.

    Args:
        values: (H, W) array.

    Yields:
        int value, ascending; int64 array of the places of its pixels, counted along the rows.
    """
    places = np.flatnonzero(values)
    found = values.reshape(-1)[places]
    if not len(found):
        return
    if (found != found[0]).any():
        order = np.argsort(found, kind="stable")
        places, found = places[order], found[order]
    starts = [0, *(np.flatnonzero(np.diff(found)) + 1).tolist(), len(found)]
    for start, end in zip(starts[:-1], starts[1:], strict=True):
        yield int(found[start]), places[start:end]


def mask_at(places, height, width):
    """The RLE, as `mask_of` gives it, of some pixels of an image, which are counted along its rows."""
    rows, columns = np.divmod(places, width)
    top, left = rows.min(), columns.min()
    bitmap = np.zeros((rows.max() - top + 1, columns.max() - left + 1), bool)
    bitmap[rows - top, columns - left] = True
    found = encode(BoxedMask(bitmap, int(top), int(left)), height, width)
    return {"size": [int(n) for n in found["size"]], "counts": found["counts"].decode("ascii")}


def ring_of(points, place):
    """Points (x, y) as one flat list of floats.

    Raises:
        ValueError: a coordinate is no finite number; the text names ``place``.
    """
    try:
        ring = [float(value) for x, y in points for value in (x, y)]
    except (TypeError, ValueError, OverflowError):
        ring = [math.nan]
    if not all(map(math.isfinite, ring)):
        raise ValueError(f"{place}: its points must be pairs of finite numbers, got {shown(points)}")
    return ring
