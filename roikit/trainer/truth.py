"""The annotated objects as COCO's matching takes them.

What training leaves out (an object without a usable mask among others with masks, a box without area) is no object that
a detector could learn to find, so here it is a region to ignore, as crowds are: finding it is neither right nor wrong.
"""

import math
import warnings
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from roikit import masks as rle
from roikit.data.annotations import has_mask, load_annotations, read_box
from roikit.data.causes import causes_of
from roikit.data.image_folder import ImageFolder
from roikit.data.instances import is_line
from roikit.data.records import crowds_sentence, repeated_sentence, shown, size_fault, sizes_of
from roikit.data.rotated import boxes_of_masks, has_rotated_box, read_rotated_box, upright_boxes
from roikit.data.segmentation import box_and_area, read_segmentation
from roikit.data.turned import turned_sentence
from roikit.errors import RoikitWarning
from roikit.trainer.annotation_fields import boxes_and_areas, chosen, crowds_of, numbers_of, to_check
from roikit.trainer.shapes import Shapes

__all__ = ["Truth", "empty_mask", "encoded", "objects_of", "read_truth"]


@dataclass(frozen=True)
class Truth:
    """An annotation file, read and checked.

    Attributes:
        images: image id -> record, in the order of the ids.
        categories: the category records in the order of their ids.
        annotations: the annotation records of `load_annotations`.
        sizes: image id -> (height, width) in pixels, of those that are known. May be added to.
    """

    images: dict
    categories: list
    annotations: list
    sizes: dict = field(default_factory=dict)

    @property
    def content(self):
        """What a data set reads, as `load_annotations` gives it."""
        return {"images": list(self.images.values()), "categories": self.categories, "annotations": self.annotations}

    @cached_property
    def image_numbers(self):
        """Image id -> 1, 2, ... in the order of the ids; the matching works on these, so ids may be anything."""
        return {i: n for n, i in enumerate(self.images, start=1)}

    @cached_property
    def category_numbers(self):
        """Category id -> 1, 2, ... in the order of the ids."""
        return {c["id"]: n for n, c in enumerate(self.categories, start=1)}

    def size(self, image_id):
        """(height, width) of an image.

        Raises:
            ValueError: neither the file nor a mask tells it.
        """
        try:
            return self.sizes[image_id]
        except KeyError:
            raise ValueError(f"evaluate: image {shown(image_id)} has no height and width, which masks need; "
                             "give the folder of the images") from None


def read_truth(annotations, *, use_cats=True, images=None, taken=None):
    """Read an annotation file for evaluation.

    Args:
        annotations: path of a COCO file or of a folder in its place, what it holds, or a Truth, which is returned.
        use_cats: False where categories do not matter; a file without any gets one for all objects.
        images: folder of the images, which tells sizes that the file does not; None for none, and, for a folder of
            annotations, for the one beside it.
        taken: as `load_annotations` has it.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not COCO's format, an id occurs twice, or the whole has a fault of `roikit.data.causes`.
    """
    if isinstance(annotations, Truth):
        return annotations
    folder = images if images is None or isinstance(images, ImageFolder) else ImageFolder(images)
    try:
        content = load_annotations(annotations, categories=use_cats, images=folder, taken=taken)
    except ValueError as error:
        raise ValueError(f"evaluate: {error}") from None
    images = _by_id(content["images"], "image")
    categories = list(_by_id(content["categories"], "category").values())
    objects = content["annotations"]
    if not use_cats and not categories:
        categories = [{"id": 1}]
        objects = [{**a, "category_id": 1} if isinstance(a, dict) else a for a in objects]
    for place, annotation in to_check(objects):
        if not isinstance(annotation, dict):
            raise ValueError(f"evaluate: annotation at place {place} must be a dict, got {shown(annotation)}")
        for name in ("image_id", "category_id"):
            _require_number(annotation, name, _called(annotation))
        if annotation["iscrowd"] not in (0, 1):
            raise ValueError(f"evaluate: {_called(annotation)}: its iscrowd must be 0 or 1, "
                             f"got {shown(annotation['iscrowd'])}")
    for cause in causes_of(content):  # figures of a file that other tools read in another way are of no use
        raise ValueError(f"evaluate: {cause.sentence}")
    sizes = sizes_of(images.values())
    named = [r for i, r in images.items() if i in sizes and isinstance(r.get("file_name"), str)]
    if folder is not None and (sentence := turned_sentence(named, folder)) is not None:
        raise ValueError(f"evaluate: {sentence}")
    if (sentence := crowds_sentence(objects)) is not None:
        warnings.warn(f"evaluate: {sentence}", RoikitWarning, stacklevel=3)
    return Truth(images, categories, objects, _sizes(images, objects))


def _require_number(record, name, called):
    """Refuse an id that is text or a truth value, as the data set does, for a model's results have whole numbers."""
    if isinstance(record.get(name), (str, bool)):
        raise ValueError(f"evaluate: {called}: its {name} must be a whole number, got {shown(record[name])}; "
                         "`roikit doctor --mend` numbers them")


def _by_id(records, what):
    found = {}
    for place, record in enumerate(records):
        if not isinstance(record, dict) or not isinstance(record.get("id"), (int, str)):
            raise ValueError(f"evaluate: {what} at place {place} must be a dict with an id, got {shown(record)}")
        _require_number(record, "id", f"{what} {shown(record['id'])}")
        found[record["id"]] = record
    if (sentence := repeated_sentence(records, what)) is not None:
        raise ValueError(f"evaluate: {sentence}")
    return {i: found[i] for i in sorted(found, key=lambda i: (isinstance(i, str), i))}


def _sizes(images, annotations):
    sizes = {}
    for i, record in images.items():
        if all(type(record.get(side)) is int and record[side] > 0 for side in ("height", "width")):
            fault = size_fault(record["height"], record["width"])
            if fault is not None:
                raise ValueError(f"evaluate: image {shown(i)}: {fault}")
            sizes[i] = record["height"], record["width"]
    for annotation in annotations if len(sizes) < len(images) else ():
        segmentation, image = annotation.get("segmentation"), annotation.get("image_id")
        if isinstance(segmentation, dict) and isinstance(image, (int, str)) and image not in sizes:
            size = segmentation.get("size")
            if isinstance(size, list) and len(size) == 2 and all(
                    type(n) is int and n > 0 for n in size) and size_fault(*size) is None:
                sizes[image] = tuple(size)
    return sizes


def objects_of(truth, kind):
    """The objects as COCO's matching takes them, for one kind of overlap.

    Args:
        truth: Truth.
        kind: "bbox", "segm", "keypoints" or "rbox".

    Returns:
        Shapes, in the order of the file; and a Counter of the reasons why some are ignored or left out.

    Raises:
        ValueError: an annotation is malformed, or no object has what the kind needs.
    """
    if kind == "segm" and truth.annotations and not any(map(has_mask, truth.annotations)):
        raise ValueError("evaluate: iou_type 'segm' needs masks, and no annotation has one")
    if kind == "rbox" and truth.annotations and not any(has_rotated_box(a) or has_mask(a) for a in truth.annotations):
        raise ValueError("evaluate: iou_type 'rbox' needs rotated boxes, and no annotation has an rbox, an obb or "
                         "a mask")
    annotations, images, categories, reasons = _listed(truth)
    count = len(annotations)
    boxes, areas, usual = _usual(truth, annotations, images) if kind == "bbox" else (
        np.zeros((count, 4)), np.zeros(count), np.zeros(count, bool))
    crowds = crowds_of(annotations)
    forms, kept = [None] * count, np.ones(count, bool)
    read, field = {"bbox": (_boxed, None), "segm": (_masked, "segmentation"), "keypoints": (_pointed, "keypoints"),
                   "rbox": (_turned, "rbox")}[kind]
    for k in np.flatnonzero(~usual).tolist():
        annotation = annotations[k]
        image = annotation["image_id"]
        try:
            item, reason = read(annotation, lambda image=image: truth.size(image), truth.sizes.get(image))
        except ValueError as error:
            raise ValueError(f"evaluate: {_called(annotation)}: {str(error).removeprefix('evaluate: ')}") from None
        if reason is not None:
            reasons[reason] += 1
            crowds[k] = True
        if item is None:
            kept[k] = False
        else:
            boxes[k], areas[k], forms[k] = item["bbox"], item["area"], item.get(field)
    rows = np.flatnonzero(kept)
    return Shapes.of(kind, images[rows], categories[rows], boxes[rows], areas[rows], [forms[k] for k in rows],
                     crowds=crowds[rows]), reasons


def _listed(truth):
    """The annotations of listed images and categories, the Truth's numbers of both, and a Counter of the others."""
    images = numbers_of(truth.annotations, "image_id", truth.image_numbers)
    categories = numbers_of(truth.annotations, "category_id", truth.category_numbers)
    reasons = Counter()
    if lost := int((images == 0).sum()):
        reasons["of an image that the file does not list"] = lost
    if lost := int(((images > 0) & (categories == 0)).sum()):
        reasons["of a category that the file does not list"] = lost
    rows = np.flatnonzero((images > 0) & (categories > 0))
    return chosen(truth.annotations, rows), images[rows], categories[rows], reasons


def _usual(truth, annotations, images):
    """Boxes (N, 4) and areas (N,), and which rows are as usual: with a box within the image, and with an area.

    These are read all at once, for there may be a million of them; the others one by one.
    """
    boxes, areas, usual = boxes_and_areas(annotations)
    size = np.full((len(truth.images) + 1, 2), np.inf)
    for image, known in truth.sizes.items():
        if image in truth.image_numbers:
            size[truth.image_numbers[image]] = known
    x, y, w, h = boxes.T
    height, width = size[images].reshape(-1, 2).T
    inside = (x + w > 0) & (y + h > 0) & (x < width) & (y < height)
    return boxes, areas, usual & inside & (x + w > x) & (y + h > y)


def _called(annotation):
    return f"annotation {shown(annotation.get('id'))} of image {shown(annotation.get('image_id'))}"


# Each of the four takes an annotation, a function that gives (height, width) or raises, and the size or None. It
# returns the object, or None, and the reason why it does not count, or None.

def _boxed(annotation, size, known):
    box, mask = _box(annotation), None
    if box is None or not _has_area(box) or (_area(annotation) is None and known is not None):
        mask = _mask(annotation, size)
    if box is None and mask is None:
        turned = read_rotated_box(annotation)
        if turned is None or not min(turned[2:4]) > 0:
            return None, "without a box" if turned is None else "with a rotated box without area"
        box, annotation = upright_boxes(turned)[0], {"area": float(turned[2] * turned[3]), **annotation}
    elif box is None:
        return _item(annotation, _box_of(mask), mask), None
    if not _has_area(box):
        region = None if mask is None else _item(annotation, _box_of(mask), mask)
        return region, "with a box without area"
    return _item(annotation, box, mask), "with a box outside the image" if _outside(box, known) else None


def _masked(annotation, size, known):
    box, mask = _box(annotation), _mask(annotation, size)
    usable = box is not None and _has_area(box)
    if mask is None:
        reason = "without a mask" if not has_mask(annotation) else (
            "with a polygon of two points" if is_line(annotation) else "with an empty mask")
        if not usable:
            return None, reason
        region = encoded([_corners(box)], *size())
        return {**_item(annotation, box, region), "segmentation": region}, reason
    reason = None
    if box is not None and (not usable or _outside(box, known)):
        reason = "with a box outside the image" if usable else "with a box without area"
    return {**_item(annotation, box if usable else _box_of(mask), mask), "segmentation": mask}, reason


def _pointed(annotation, size, known):
    item, reason = _boxed(annotation, size, known)
    points = annotation.get("keypoints")
    if not points:
        return (None if item is None else {**item, "keypoints": []}), reason or "without keypoints"
    points = _numbers(points, "keypoints")
    if points.size % 3:
        raise ValueError(f"its keypoints must be numbers by threes, x, y and visibility, got {points.size}")
    seen = int(np.count_nonzero(points[2::3] > 0))
    if item is None:
        if not seen:
            return None, reason
        xs, ys = points[0::3][points[2::3] > 0], points[1::3][points[2::3] > 0]
        box = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        item, reason = _item(annotation, box, None), None
    return {**item, "keypoints": points.tolist()}, reason


def _turned(annotation, size, known):
    box = read_rotated_box(annotation)
    if box is None and (mask := _mask(annotation, size)) is not None:
        box = boxes_of_masks([mask])[0]
    if box is None:
        return None, "without a rotated box"
    if not min(box[2:4]) > 0:
        return None, "with a rotated box without area"
    around = upright_boxes(box)[0]
    item = {"bbox": [*around[:2], *(around[2:] - around[:2])], "area": float(box[2] * box[3]), "rbox": box.tolist()}
    return item, "with a box outside the image" if _outside(around, known) else None


def _numbers(values, name):
    try:
        found = np.asarray(values, np.float64).reshape(-1)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"its {name} must be numbers, got {shown(values)}") from None
    if not np.isfinite(found).all():
        raise ValueError(f"its {name} must be finite, got {shown(values)}")
    return found


def _box(annotation):
    return read_box(annotation["bbox"]) if annotation.get("bbox") else None


def _has_area(box):
    return bool(np.isfinite(box).all() and box[2] > box[0] and box[3] > box[1])


def _outside(box, size):
    return size is not None and bool(box[2] <= 0 or box[3] <= 0 or box[0] >= size[1] or box[1] >= size[0])


def _mask(annotation, size):
    """The mask as RLE, or None where there is none or it has no pixel."""
    if not has_mask(annotation) or is_line(annotation):
        return None
    mask = encoded(read_segmentation(annotation["segmentation"], *size()), *size())
    return mask if rle.area(mask) else None


def _box_of(mask):
    return np.array(box_and_area(mask, *mask["size"])[0])


def _corners(box):
    x1, y1, x2, y2 = box
    return np.array([x1, y1, x2, y1, x2, y2, x1, y2])


def _area(annotation):
    """The area that a file states; None where it states none, or 0 or less, which some write for "unknown"."""
    area = annotation.get("area")
    if isinstance(area, bool) or not isinstance(area, (int, float, type(None))):
        raise ValueError(f"its area must be a number, got {shown(area)}")
    try:
        area = None if area is None else float(area)
    except OverflowError:
        raise ValueError(f"its area must be a number of double precision, got {shown(area)}") from None
    return area if area is not None and math.isfinite(area) and area > 0 else None


def _item(annotation, box, mask):
    x1, y1, x2, y2 = (float(v) for v in box)
    area = _area(annotation)
    if area is None:
        area = (x2 - x1) * (y2 - y1) if mask is None else rle.area(mask)
    given = annotation.get("bbox")
    # As the file has it, for x + width - x is not width to the last bit.
    whole = [float(v) for v in given] if given and _has_area(read_box(given)) else [x1, y1, x2 - x1, y2 - y1]
    return {"bbox": whole, "area": float(area)}


def encoded(mask, height, width):
    """A mask of `read_segmentation` (RLE or polygons) as a compressed RLE."""
    if isinstance(mask, dict):
        return mask
    parts = rle.frPyObjects(mask, height, width)
    return rle.merge(parts) if len(parts) > 1 else parts[0]


def empty_mask(height, width):
    """The RLE of a mask without a pixel."""
    return rle.frPyObjects({"size": [height, width], "counts": [height * width]}, height, width)
