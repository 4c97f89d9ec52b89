"""Detections in COCO's format of results, as people and programs write them, made ready for the matching."""

import math
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from roikit import masks as rle
from roikit.data.annotations import plain, whole_number
from roikit.data.findings import counted
from roikit.data.forms import box_numbers, outlines
from roikit.data.layouts.json_files import read_json
from roikit.data.records import shown
from roikit.data.remote import beside, local_path
from roikit.data.rotated import upright_boxes
from roikit.data.segmentation import bitmap_of, read_segmentation
from roikit.errors import RoikitWarning
from roikit.trainer.categories import pair_categories
from roikit.trainer.file_names import pair_file_names
from roikit.trainer.shapes import Shapes, box_rows
from roikit.trainer.truth import empty_mask, encoded

__all__ = ["Placed", "detections_of", "place_results", "read_results", "told_beside"]


@dataclass(frozen=True)
class Placed:
    """Results that have been given their images and categories of a Truth.

    Attributes:
        rows: the results.
        places: of each, its place in the list that was given, for sentences.
        image_ids, categories: of each, the Truth's image id and the Truth's number of its category.
        scores: of each, a float.
        mask_scores: of each, a float, the score of its mask; None where results have none.
    """

    rows: list
    places: list
    image_ids: list
    categories: list
    scores: list
    mask_scores: list | None = None


def read_results(source):
    """The list of results in a JSON file, or the list that is given.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not a list of dicts.
    """
    is_path = isinstance(source, (str, bytes)) or hasattr(source, "__fspath__")
    results = read_json(local_path(source)) if is_path else source
    if not isinstance(results, (list, tuple)):
        hint = "; it seems to be a file of annotations" if isinstance(results, Mapping) and "images" in results else ""
        raise ValueError(f"evaluate: results must be a list of COCO results, got {type(results).__name__}{hint}")
    for place, result in enumerate(results):
        if not isinstance(result, Mapping):
            raise ValueError(f"evaluate: result {place} must be a dict, got {shown(result)}")
    return results


def told_beside(source, results):
    """What ``images.json`` beside results that ``roikit.predict`` wrote tells of them: for ``place_results``."""
    if isinstance(source, list) or not any("file_name" in r for r in results):
        return {}
    path = beside(source, "images.json")
    if not path.is_file():
        return {}
    listed = read_json(path)
    try:
        names = [record["file_name"] for record in listed["images"]]
        categories = [{"id": c["id"], "name": c.get("name")} for c in listed["categories"]]
        if not all(isinstance(value, (int, str)) for value in (*names, *(c["id"] for c in categories))):
            raise TypeError
    except (TypeError, KeyError, AttributeError):
        raise ValueError(f"evaluate: {path} must have images with file_name and categories with id, as "
                         "roikit.predict writes it") from None
    return {"categories": categories, "file_names": names}


def place_results(results, truth, *, use_cats=True, categories=None, file_names=()):
    """Find the image and the category of each result, and its score.

    Images are paired by file name where the results have ``file_name``, else by id. Categories are paired by id, or as
    `pair_categories` does where those of the results are known, from ``categories`` or because each result has a
    ``category_name``. What has no counterpart is left out with a RoikitWarning.

    Args:
        results: of `read_results`.
        truth: Truth.
        use_cats: False where categories do not matter.
        categories: [{"id", "name"}, ...] behind the results' ``category_id``, or None.
        file_names: all images that were looked at, those on which nothing was found among them, where that is known.

    Raises:
        ValueError: results have no score, one category id has two names, or of no result the image or the category is
            in the annotations.
    """
    places, image_ids = _images(results, truth, file_names)
    scores, mask_scores = _scores(results), None
    if any("mask_score" in r for r in results):
        mask_scores = _scores(results, "mask_score")
    number_of = _category_numbers(truth, categories, _names_within(results)) if use_cats else truth.category_numbers
    kept, numbers, unknown = [], [], Counter()
    for k, place in enumerate(places):
        category = whole_number(plain(results[place].get("category_id")))
        number = number_of.get(category) if isinstance(category, (int, str)) else None
        if number is None and not use_cats and truth.categories:
            number = 1
        if number is None:
            unknown[shown(category)] += 1
        else:
            kept.append(k)
            numbers.append(number)
    if unknown:
        ids = ", ".join(sorted(unknown)[:5])
        if not kept:
            raise ValueError(f"evaluate: the category ids {ids} of the results are not in the annotations, which have "
                             f"{', '.join(shown(i) for i in list(truth.category_numbers)[:5]) or 'none'}")
        warnings.warn(f"evaluate: left out {unknown.total()} of {len(results)} results, whose category ids ({ids}) are "
                      "not in the annotations", RoikitWarning, stacklevel=4)
    return Placed(rows=[results[places[k]] for k in kept], places=[places[k] for k in kept],
                  image_ids=[image_ids[k] for k in kept], categories=numbers, scores=[scores[places[k]] for k in kept],
                  mask_scores=mask_scores and [mask_scores[places[k]] for k in kept])


def _names_within(results):
    """Category id -> name, from the results; empty where not each of them has a name."""
    names = {}
    for place, result in enumerate(results):
        category, name = whole_number(plain(result.get("category_id"))), result.get("category_name")
        if not isinstance(name, str) or not isinstance(category, (int, str)):
            return {}
        if names.setdefault(category, name) != name:
            raise ValueError(f"evaluate: result {place}: its category_name is {shown(name)}, that of another result of "
                             f"category {shown(category)} is {shown(names[category])}")
    return names


def _category_numbers(truth, categories, named):
    if categories is None and not named:
        return truth.category_numbers
    listed = {c["id"]: c for c in categories or ()} | {i: {"id": i, "name": name} for i, name in named.items()}
    pairing = pair_categories(listed.values(), truth.categories, sides=("the results", "the annotations"))
    if categories is None:  # a category of which nothing was found may be known nevertheless
        pairing = replace(pairing, theirs=[])
    if pairing.differ:
        warnings.warn(f"evaluate: {pairing.text()}", RoikitWarning, stacklevel=5)
    return {c["id"]: truth.category_numbers[i] for c, i in zip(listed.values(), pairing.ids, strict=True)
            if i is not None}


def _images(results, truth, file_names):
    """Places of the results whose image is annotated, and the ids of their images."""
    named = sum(isinstance(r.get("file_name"), str) for r in results)
    if named and named < len(results):
        raise ValueError(f"evaluate: either all results or none must have a file_name, {named} of {len(results)} have")
    if not named:
        ids = [whole_number(plain(r.get("image_id"))) for r in results]
        unlisted = {shown(i) for i in ids if not isinstance(i, (int, str)) or i not in truth.images}
        if unlisted:
            raise ValueError(f"evaluate: {counted(len(unlisted), 'image id')} of the results "
                             f"{'is' if len(unlisted) == 1 else 'are'} not in the annotations, among them "
                             f"[{', '.join(sorted(unlisted)[:5])}]")
        return list(range(len(results))), ids
    names = dict.fromkeys([*map(str, file_names), *(r["file_name"] for r in results)])
    theirs = {i: record["file_name"] for i, record in truth.images.items() if isinstance(record.get("file_name"), str)}
    id_of = pair_file_names(list(names), theirs)
    missing = [name for name in names if name not in id_of]
    if missing:
        text = (f"evaluate: {len(missing)} of {len(names)} images of the results are not in the annotations by their "
                f"file names, among them {', '.join(missing[:3])}")
        if not id_of:
            raise ValueError(f"{text}; the annotations have {', '.join(list(theirs.values())[:3]) or 'no file names'}")
        warnings.warn(f"{text}; their results are left out", RoikitWarning, stacklevel=5)
    if file_names and len(id_of) < len(truth.images):
        warnings.warn(f"evaluate: {len(truth.images) - len(id_of)} of {len(truth.images)} annotated images are not "
                      "among those of the results; their objects count as missed", RoikitWarning, stacklevel=5)
    places = [k for k, r in enumerate(results) if r["file_name"] in id_of]
    return places, [id_of[results[k]["file_name"]] for k in places]


def _scores(results, field="score"):
    scores, without = [], []
    for place, result in enumerate(results):
        try:
            scores.append(float(result[field]))
            if not math.isfinite(scores[-1]):
                raise ValueError
        except (KeyError, TypeError, ValueError, OverflowError):
            without.append(place)
    if without:
        hint = " (say 1.0 for all where there is none)" if field == "score" else ""
        raise ValueError(f"evaluate: each result must have a {field}, a finite number; {len(without)} of "
                         f"{len(results)} have none, the first is result {without[0]}{hint}")
    return scores


def detections_of(placed, truth, kind):
    """The results as COCO's matching takes them, for one kind of overlap; those of "segm" have the score of the mask.

    Args:
        placed: Placed.
        truth: Truth that they were placed in; it learns the sizes of images that only the results tell.
        kind: "bbox", "segm", "keypoints" or "rbox".

    Returns:
        Shapes, in the order of the results.

    Raises:
        ValueError: a result lacks what the kind needs, or it is malformed.
    """
    wanted = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints", "rbox": "rbox"}[kind]
    lacking = sum(r.get(wanted) is None for r in placed.rows) if kind != "bbox" else 0
    if lacking:
        raise ValueError(f"evaluate: iou_type {kind!r} needs {wanted!r} in every result, {lacking} of "
                         f"{len(placed.rows)} have none")
    count = len(placed.rows)
    boxes, usual = box_rows([r.get("bbox") for r in placed.rows]) if kind == "bbox" else (
        np.zeros((count, 4)), np.zeros(count, bool))
    areas = boxes[:, 2] * boxes[:, 3]  # of a negative side, too: it overlaps nothing
    forms = [None] * count
    if kind == "segm":
        usual, forms = _usual_masks(placed, truth)
    read = {"bbox": _boxed, "segm": _masked, "keypoints": _pointed, "rbox": _turned}[kind]
    for k in np.flatnonzero(~usual).tolist():
        item = _told(placed, k, lambda k=k: read(placed.rows[k], placed.image_ids[k], truth))
        forms[k] = item.get(wanted)
        if kind != "segm":
            boxes[k], areas[k] = item["bbox"], item["area"]
    scores = placed.mask_scores if kind == "segm" and placed.mask_scores is not None else placed.scores
    try:
        found = Shapes.of(kind, [truth.image_numbers[i] for i in placed.image_ids], placed.categories, boxes, areas,
                          forms, scores=scores)
    except ValueError:
        if kind == "segm":  # which of them it is
            for k in range(count):
                _told(placed, k, lambda k=k: _masked(placed.rows[k], placed.image_ids[k], truth))
        raise
    if kind == "segm":  # the area is the mask's, not its box's
        found = replace(found, boxes=found.masks.boxes, areas=found.masks.areas.astype(np.float64))
    inverted = int((found.boxes[:, 2:] < 0).any(1).sum())
    if inverted:
        warnings.warn(f"evaluate: {inverted} of {counted(len(found), 'result')} have a box of negative width or height "
                      "and so overlap nothing; COCO's boxes are x, y, width, height", RoikitWarning, stacklevel=3)
    return found


def _told(placed, row, read):
    """What ``read`` gives; its errors say which result it was."""
    try:
        return read()
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"evaluate: result {placed.places[row]}: "
                         f"{str(error).removeprefix('evaluate: ')}") from None


def _usual_masks(placed, truth):
    """(N,) bool, which masks are compressed RLEs of their image's size, and these; they are read all at once."""
    usual, forms = np.zeros(len(placed.rows), bool), [None] * len(placed.rows)
    for k, (row, image) in enumerate(zip(placed.rows, placed.image_ids, strict=True)):
        mask = row["segmentation"]
        if type(mask) is dict and len(mask) == 2:
            size, counts = mask.get("size"), mask.get("counts")
            # Of the quotes, no character of an RLE is one: text with them is another form.
            if (type(counts) is bytes or type(counts) is str and counts[:1] != "b") and type(size) is list \
                    and tuple(size) == truth.sizes.get(image):
                usual[k], forms[k] = True, mask
    return usual, forms


def _boxed(row, image, truth):
    box = row.get("bbox")
    if box is None or not len(box):
        if row.get("segmentation") is None:
            raise ValueError("it has neither a box nor a mask")
        mask = _masked(row, image, truth)
        return {"bbox": mask["bbox"], "area": mask["area"]}
    box = _numbers(box_numbers(plain(box))[0], "box")
    if len(box) != 4:
        raise ValueError(f"its box must be x, y, width, height, got {shown(box)}")
    return {"bbox": box, "area": box[2] * box[3]}  # of a negative side, too: it overlaps nothing


def _masked(row, image, truth):
    mask = _mask(row["segmentation"], image, truth)
    return {"segmentation": mask, "area": float(rle.area(mask)), "bbox": rle.toBbox(mask).tolist()}


def _pointed(row, image, truth):
    points = _numbers(row["keypoints"], "keypoints")
    if not points or len(points) % 3:
        raise ValueError(f"its keypoints must be numbers by threes, x, y and score, got {len(points)}")
    xs, ys = points[0::3], points[1::3]
    x, y, w, h = min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)
    return {"keypoints": points, "bbox": [x, y, w, h], "area": w * h}


def _turned(row, image, truth):
    box = _numbers(row["rbox"], "rbox")
    if len(box) != 5:
        raise ValueError(f"its rbox must be cx, cy, w, h and an angle, got {shown(box)}")
    x1, y1, x2, y2 = upright_boxes(np.array(box))[0]
    # Of a negative side, too: it overlaps nothing.
    return {"rbox": box, "bbox": [x1, y1, x2 - x1, y2 - y1], "area": box[2] * box[3]}


def _numbers(values, name):
    try:
        found = np.asarray(plain(values), np.float64).reshape(-1)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"its {name} must be numbers, got {shown(values)}") from None
    if not np.isfinite(found).all():
        raise ValueError(f"its {name} must be finite numbers, got {shown(values)}")
    return found.tolist()


def _mask(segmentation, image, truth):
    """A result's mask as an RLE: from an RLE, from polygons, or from an array of the whole image."""
    if isinstance(segmentation, Mapping):
        segmentation = outlines(plain(segmentation))[0]
        if isinstance(segmentation, list):
            return _mask(segmentation, image, truth)
        mask = {"size": segmentation.get("size"), "counts": segmentation.get("counts")}
        size = mask["size"]
        if image not in truth.sizes and isinstance(size, list) and len(size) == 2:
            truth.sizes[image] = tuple(size)
        return read_segmentation(mask, *truth.size(image))
    pixels = _pixels(segmentation, truth.sizes.get(image))
    if pixels is not None:
        height, width = truth.sizes.setdefault(image, pixels.shape)
        if pixels.shape != (height, width):
            raise ValueError(f"its mask must have the shape of the image, ({height}, {width}), got {pixels.shape}")
        return rle.encode(np.asfortranarray(pixels, np.uint8))
    height, width = truth.size(image)
    segmentation = outlines(plain(segmentation))[0]
    if not segmentation or segmentation == [[]]:
        return empty_mask(height, width)
    return encoded(read_segmentation(segmentation, height, width), height, width)


def _pixels(segmentation, size):
    """An array of the whole image as (H, W) bool, or None if it is something else."""
    rows = isinstance(segmentation, (list, tuple))
    if rows:
        # Polygons are lists of numbers too; rows of pixels are as many and as long as the image is large.
        if size is None or len(segmentation) != size[0] or any(not hasattr(r, "__len__") or len(r) != size[1]
                                                               for r in segmentation):
            return None
    elif not hasattr(segmentation, "__array__"):
        return None
    bitmap = bitmap_of(segmentation)
    if bitmap is not None or rows:
        return bitmap
    pixels = np.asarray(segmentation)
    raise ValueError(f"its mask must be an array (H, W) of zeros and ones, got {pixels.dtype} {pixels.shape}")
