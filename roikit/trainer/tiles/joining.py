"""Objects of all tiles of a picture as objects of the picture: what two tiles saw of one is joined."""

from bisect import bisect_left

import numpy as np

from roikit import masks as rle
from roikit.kernels import min_area_boxes
from roikit.trainer.tiles.objects import seen_best, touching

__all__ = ["SAME", "joined"]

SAME = 0.5  # mask IoU within the common pixels of two tiles, from which on two objects are one


def joined(found, windows, size):
    """The objects of a picture.

    Two objects of a class in two tiles are one if the IoU of their masks, within what the tiles have in common, is at
    least ``SAME``, and no other pair of theirs has a larger one. Of those that are one, the surest that no border cuts
    stands for all; where each is cut, the first by score stands for them with the union of the masks and the boxes.

    Args:
        found: list of `TileObjects`, of the tiles.
        windows: all tiles of the picture.
        size: (height, width) of the picture.

    Returns:
        dict of arrays as a model gives them, in the picture's pixels, best first; and ``masks``, a list of RLEs, where
        there are masks.
    """
    found = [objects.chosen(seen_best(objects, windows, size)) for objects in found]
    starts = np.concatenate([[0], np.cumsum([len(objects) for objects in found])]).astype(int)
    groups = _groups(_links(found, starts), int(starts[-1]))
    cut = np.concatenate([touching(objects, size) for objects in found])
    placed = _placed(found, size)
    scores, chosen, unions = placed["scores"], [], []
    for members in groups:
        members = sorted(members, key=lambda k: -scores[k])
        whole = [k for k in members if not cut[k]]
        chosen.append((whole or members)[0])
        if len(members) > 1 and not whole:
            unions.append((chosen[-1], members))
    for best, members in unions:
        _unite(placed, best, members)
    chosen = np.array(chosen, np.int64)
    order = chosen[np.argsort(-scores[chosen], kind="stable")]
    return {name: [values[k] for k in order] if isinstance(values, list) else values[order]
            for name, values in placed.items()}


def _links(found, starts):
    """Pairs of numbers of objects that are one; objects are numbered through the tiles."""
    links = []
    for i, j, common in _neighbours([objects.window for objects in found]):
        if len(found[i]) and len(found[j]):
            links += [(starts[i] + a, starts[j] + b) for a, b in _pairs(found[i], found[j], common)]
    return links


def _neighbours(windows):
    """Yields each pair of windows of a grid that have something in common, with what that is."""
    rows = {}
    for k, window in enumerate(windows):
        rows.setdefault(window.top, []).append((window.left, k))
    tops = sorted(rows)
    for i, window in enumerate(windows):
        for top in tops[bisect_left(tops, window.top):bisect_left(tops, window.bottom)]:
            row = rows[top]
            for _, j in row[bisect_left(row, (window.left - window.width, 0)):bisect_left(row, (window.right, 0))]:
                common = window.common(windows[j]) if j > i else None
                if common is not None:
                    yield i, j, common


def _pairs(one, other, common):
    """Places of the objects of two tiles that are one, from the largest IoU down, each in one pair at most."""
    sides = []
    for objects in (one, other):
        top, left = common.top - objects.window.top, common.left - objects.window.left
        x1, y1, x2, y2 = objects.extents.T
        near = np.flatnonzero((x1 < left + common.width) & (x2 > left) & (y1 < top + common.height) & (y2 > top))
        shapes = rle.frames.shift([objects.shapes[k] for k in near], -top, -left, common.height, common.width)
        sides.append((near, shapes, objects.rows["labels"][near]))
    (near, shapes, labels), (others, other_shapes, other_labels) = sides
    if not len(near) or not len(others):
        return []
    overlap = rle.iou(shapes, other_shapes, [0] * len(others))
    overlap = np.where(labels[:, None] == other_labels[None], overlap, 0)
    rows, columns = np.nonzero(overlap >= SAME)
    pairs, taken, taken_others = [], set(), set()
    for k in np.argsort(-overlap[rows, columns], kind="stable"):
        a, b = int(rows[k]), int(columns[k])
        if a not in taken and b not in taken_others:
            taken.add(a), taken_others.add(b)
            pairs.append((int(near[a]), int(others[b])))
    return pairs


def _groups(links, count):
    """The numbers 0 to ``count`` in lists of those that links connect, in the order of their first."""
    parent = list(range(count))

    def root(k):
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = parent[k]
        return k

    for a, b in links:
        a, b = sorted((root(a), root(b)))
        parent[b] = a
    groups = {}
    for k in range(count):
        groups.setdefault(root(k), []).append(k)
    return list(groups.values())


def _placed(found, size):
    """The rows of all tiles after one another, in the picture's pixels."""
    placed = {}
    for name in found[0].rows:
        parts = [objects.rows[name] for objects in found]
        if name in ("boxes", "keypoints"):
            parts = [_moved(part, objects.window) for part, objects in zip(parts, found, strict=True)]
        placed[name] = np.concatenate(parts)
    if found[0].masks is not None:
        placed["masks"] = [mask for objects in found
                           for mask in rle.frames.shift(objects.masks, objects.window.top, objects.window.left, *size)]
    return placed


def _moved(values, window):
    """Boxes (N, 4) or (N, 5), or keypoints (N, K, 3), of a tile in the picture's pixels."""
    offset = np.zeros(values.shape[-1], values.dtype)
    offset[:2] = window.left, window.top
    if values.ndim == 2 and values.shape[1] == 4:
        offset[2:] = window.left, window.top
    return values + offset


def _unite(placed, best, members):
    """Give the object ``best`` the masks and boxes of all ``members``; rotated boxes without masks stay as they are."""
    boxes = placed["boxes"]
    if "masks" in placed:
        placed["masks"][best] = rle.merge([placed["masks"][k] for k in members])
    if boxes.shape[1] == 4:
        boxes[best] = [*boxes[members][:, :2].min(0), *boxes[members][:, 2:].max(0)]
    elif "masks" in placed and rle.area(placed["masks"][best]):
        boxes[best] = min_area_boxes([placed["masks"][best]])[0]
