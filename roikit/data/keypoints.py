"""Keypoints of objects: what a category calls them, what an annotation says of them, and how they move.

Keypoints of N objects are an array (N, K, 3): x and y in pixels, continuous as all coordinates here (pixel (0, 0)
covers [0, 1) x [0, 1)), and the visibility, which is 0 not labelled, 1 labelled but hidden, 2 visible. A keypoint that
is not labelled is at (0, 0), wherever the others are moved.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from roikit.data.records import shown

__all__ = ["Skeleton", "crop_keypoints", "mirror_keypoints", "read_keypoints", "resize_keypoints", "side_pairs",
           "skeleton_of", "skeletons_of", "turn_keypoints"]

_OTHER_SIDE = {"left": "right", "right": "left", "Left": "Right", "Right": "Left", "LEFT": "RIGHT", "RIGHT": "LEFT"}
_SIDE = re.compile("|".join(_OTHER_SIDE))


@dataclass(frozen=True)
class Skeleton:
    """The keypoints of a category and how they hang together.

    Attributes:
        names: K texts, in the order of the keypoints.
        limbs: pairs of keypoints, numbered from 0, that a line joins.
        pairs: pairs of keypoints, numbered from 0, that change places in a mirror.
    """

    names: tuple
    limbs: tuple = ()
    pairs: tuple = ()

    @cached_property
    def mirrored(self):
        """(K,) int64: the keypoint that shows in a mirror where each one was."""
        order = np.arange(len(self.names))
        for left, right in self.pairs:
            order[[left, right]] = right, left
        return order

    def as_category(self):
        """The fields of a COCO category: ``keypoints`` and ``skeleton``, whose numbers are from 1."""
        return {"keypoints": list(self.names), "skeleton": [[a + 1, b + 1] for a, b in self.limbs]}


def side_pairs(names):
    """Pairs of keypoints whose names are the same but for "left" and "right", such as left_eye and right_eye.

    Returns:
        tuple of pairs of numbers from 0, in the order of the first of each.
    """
    place = {name: k for k, name in enumerate(names)}
    pairs = []
    for k, name in enumerate(names):
        other = place.get(_SIDE.sub(lambda found: _OTHER_SIDE[found[0]], name), k)
        if other > k:
            pairs.append((k, other))
    return tuple(pairs)


def skeleton_of(category, pairs=None):
    """The Skeleton of a category record; None where it names no keypoints.

    Args:
        category: dict, with ``keypoints`` (names) and ``skeleton`` (pairs of numbers from 1) as COCO has them.
        pairs: pairs of names that change places in a mirror; None for those of `side_pairs`.

    Raises:
        ValueError: a field is malformed, or a pair is none of its keypoints.
    """
    names = category.get("keypoints")
    if names is None or names == []:
        return None
    if not isinstance(names, (list, tuple)) or not all(isinstance(n, str) and n for n in names) \
            or len(set(names)) < len(names):
        raise ValueError(f"its keypoints must be a list of different names, got {shown(names)}")
    limbs = category.get("skeleton")
    limbs = [] if limbs is None else limbs
    if not isinstance(limbs, (list, tuple)) or not all(_is_limb(limb, len(names)) for limb in limbs):
        raise ValueError(f"its skeleton must be a list of pairs of numbers in 1..{len(names)}, got {shown(limbs)}")
    found = side_pairs(names) if pairs is None else tuple(_numbered(pair, list(names)) for pair in pairs)
    return Skeleton(tuple(names), tuple((a - 1, b - 1) for a, b in limbs), found)


def _is_limb(limb, count):
    return isinstance(limb, (list, tuple)) and len(limb) == 2 and all(type(k) is int and 1 <= k <= count for k in limb)


def _numbered(pair, names):
    if len(pair) != 2 or pair[0] == pair[1] or not set(pair) <= set(names):
        raise ValueError(f"a pair of keypoints must be two of {', '.join(names)}, got {shown(tuple(pair))}")
    return names.index(pair[0]), names.index(pair[1])


def skeletons_of(categories, pairs=None):
    """The skeletons of category records.

    Args:
        categories: list of dicts with ``id``.
        pairs: see `skeleton_of`.

    Returns:
        dict, category id -> Skeleton, of the categories that name keypoints; all of the same names.

    Raises:
        ValueError: one is malformed, or two differ; the text names the category.
    """
    found = {}
    for category in categories:
        try:
            skeleton = skeleton_of(category, pairs)
        except ValueError as error:
            raise ValueError(f"category {category['id']}: {error}") from None
        if skeleton is None:
            continue
        first = next(iter(found), None)
        if first is not None and found[first].names != skeleton.names:
            raise ValueError(f"category {category['id']}: its keypoints must be those of category {first}, for a model "
                             f"has the same for all; got {shown(list(skeleton.names))} and "
                             f"{shown(list(found[first].names))}")
        found[category["id"]] = skeleton
    return found


def read_keypoints(values, count):
    """The ``keypoints`` of a COCO annotation.

    Args:
        values: flat list of 3 * count numbers x, y, visibility; None or an empty list where there are none.
        count: number of keypoints that the category has.

    Returns:
        (count, 3) float64; zeros where there are none.

    Raises:
        ValueError: a wrong number of numbers, one that is not finite, or a visibility other than 0, 1 and 2.
    """
    if values is None or (isinstance(values, (list, tuple)) and not values):
        return np.zeros((count, 3))
    try:
        if isinstance(values, (str, Mapping)):
            raise TypeError
        flat = np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"its keypoints must be a flat list of numbers, got {shown(values)}") from None
    if flat.shape != (3 * count,):
        raise ValueError(f"its keypoints must be {3 * count} numbers, x, y and visibility of each of {count}, got "
                         f"{flat.size if flat.ndim == 1 else f'an array {flat.shape}'}")
    if not np.isfinite(flat).all():
        raise ValueError(f"its keypoints must be finite numbers, got {shown(values)}")
    points = flat.reshape(count, 3)
    strange = points[~np.isin(points[:, 2], (0, 1, 2)), 2]
    if strange.size:
        raise ValueError(f"the visibility of a keypoint must be 0, 1 or 2, got {strange[0]:g}")
    return np.where(points[:, 2:] > 0, points, 0.0)


def mirror_keypoints(points, axis, length, order):
    """Mirror along an axis (0 is x, 1 is y) an image ``length`` pixels long there.

    What was left is right in a mirror, whichever way it stands: mirroring top and bottom is mirroring left and right
    and half a turn.

    Args:
        order: (K,) int64, of `Skeleton.mirrored`.
    """
    mirrored = points[:, order]
    mirrored[..., axis] = length - mirrored[..., axis]
    return _cleared(mirrored)


def turn_keypoints(points, width):
    """Turn by 90 degrees counter-clockwise an image ``width`` pixels wide (before the turn)."""
    return _cleared(np.stack([points[..., 1], width - points[..., 0], points[..., 2]], axis=-1))


def resize_keypoints(points, y_scale, x_scale):
    """Points of an image ``y_scale`` times as high and ``x_scale`` times as wide."""
    return points * (x_scale, y_scale, 1)


def crop_keypoints(points, y, x, limits):
    """Points relative to a window's first pixel (y, x).

    Args:
        limits: x1, y1, x2, y2 of the image's part of the window, edges included; points beyond are no longer labelled.
    """
    moved = points - (x, y, 0)
    xy = moved[..., :2]
    inside = ((xy >= limits[:2]) & (xy <= limits[2:])).all(axis=-1)
    moved[..., 2] *= inside
    return _cleared(moved)


def _cleared(points):
    """The points, an array of our own, with those that are not labelled at (0, 0)."""
    points[points[..., 2] <= 0] = 0
    return points
