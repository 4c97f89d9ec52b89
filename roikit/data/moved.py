"""An annotation of an image that is scaled or turned: all of its coordinates, in whatever field they are."""

from typing import NamedTuple

import numpy as np

from roikit import masks as rle
from roikit.data.instances import read_box
from roikit.data.rotated import corners_of_boxes, rotated_field
from roikit.data.segmentation import encode, opened, read_segmentation, resize

__all__ = ["FIELDS", "Move", "moved", "scaling", "unturned"]

FIELDS = ("bbox", "segmentation", "keypoints", "rbox", "rbbox", "obb")
# Decimals of a coordinate in pixels that are kept: what is more is the rounding of the arithmetic.
_DECIMALS = 6


class Move(NamedTuple):
    """Where an image's points and pixels go.

    Attributes:
        points: callable, (N, 2) float64 x y -> (N, 2).
        mask: callable, compressed RLE -> compressed RLE.
        size: (height, width) of the image that the annotation was made on.
    """

    points: object
    mask: object
    size: tuple


def moved(annotation, move, fields=FIELDS):
    """The annotation with some of its fields moved.

    Raises:
        ValueError: a field is malformed.
    """
    found = dict(annotation)
    if "bbox" in fields and annotation.get("bbox"):
        corners = move.points(read_box(annotation["bbox"]).reshape(2, 2))
        (x1, y1), (x2, y2) = corners.min(0), corners.max(0)
        found["bbox"] = _written([x1, y1, x2 - x1, y2 - y1])
    if "segmentation" in fields and annotation.get("segmentation"):
        segmentation = read_segmentation(annotation["segmentation"], *move.size) if isinstance(
            annotation["segmentation"], dict) else annotation["segmentation"]
        found["segmentation"] = (_text(move.mask(segmentation)) if isinstance(segmentation, dict) else
                                 [_flat(move, ring) for ring in segmentation])
    if "keypoints" in fields and annotation.get("keypoints"):
        points = np.array(annotation["keypoints"], np.float64).reshape(-1, 3)
        seen = points[:, 2] > 0
        points[seen, :2] = move.points(points[seen, :2])
        found["keypoints"] = _written(points.reshape(-1))
    for field in {"rbox", "rbbox", "obb"} & set(fields):
        if annotation.get(field):
            _, values = rotated_field({field: annotation[field]})
            found[field] = _flat(move, values if len(values) == 8 else corners_of_boxes(values).reshape(-1))
    return found


def scaling(size, y_scale, x_scale):
    """The Move of an image of ``size`` (height, width) to one so many times as high and as wide."""
    new = tuple(round(side * scale) for side, scale in zip(size, (y_scale, x_scale), strict=True))

    def mask(found):
        scaled = resize(opened(found), y_scale, x_scale) if rle.area(found) else None
        return rle.frPyObjects({"size": list(new), "counts": [new[0] * new[1]]}, *new) if scaled is None else (
            encode(scaled, *new))

    return Move(lambda points: points * (x_scale, y_scale), mask, tuple(size))


def unturned(header):
    """The Move from the picture that viewers show to the pixels as stored.

    Args:
        header: of `roikit.data.images.open_image`, with an EXIF orientation from 5 on, which turns by 90 degrees.
    """
    width, height, orientation = header.width, header.height, header.orientation

    def points(shown):
        x, y = shown[:, 0], shown[:, 1]
        return np.stack([width - y if orientation in (7, 8) else y, height - x if orientation in (6, 7) else x], 1)

    def mask(found):
        shown = rle.decode(found)
        stored = {5: shown.T, 6: np.rot90(shown), 7: np.rot90(shown, 2).T, 8: np.rot90(shown, -1)}[orientation]
        return rle.encode(np.asfortranarray(stored))

    return Move(points, mask, (width, height))


def _flat(move, ring):
    return _written(move.points(np.asarray(ring, np.float64).reshape(-1, 2)).reshape(-1))


def _written(values):
    """The numbers as a list, whole ones as ints."""
    return [int(v) if v.is_integer() else v for v in np.round(np.asarray(values, np.float64), _DECIMALS).tolist()]


def _text(mask):
    return {"size": list(mask["size"]), "counts": mask["counts"].decode("ascii")}
