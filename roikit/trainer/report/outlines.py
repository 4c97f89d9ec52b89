"""Masks and boxes as paths of SVG, in half pixels: their coordinates are whole then, and short."""

import numpy as np

from roikit import masks as rle
from roikit.data.rotated import corners_of_boxes
from roikit.trainer.extras import extra

__all__ = ["outline"]

# A corner that is nearer than this to the line between its neighbours is left out; in pixels, or as a part of the
# picture's longer side.
_NEAR, _NEAR_PART = 0.3, 1 / 2000
_ROUNDS = 6


def outline(item, kind, size):
    """What is drawn of an object.

    Args:
        item: dict with ``bbox``, ``rbox`` or ``segmentation``, as `roikit.trainer.analysis.Matches` holds them.
        kind: "bbox", "rbox" or "segm".
        size: (height, width) of the image in pixels; not needed for boxes.

    Returns:
        str, the ``d`` of a path in half pixels; empty for a mask without a pixel.
    """
    if kind == "segm":
        return "".join(map(_path, _rings(item["segmentation"], _nearness(size))))
    if kind == "rbox":
        return _path(corners_of_boxes(np.array(item["rbox"], np.float64))[0].reshape(-1, 2))
    x, y, w, h = item["bbox"]
    return _path(np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]]))


def _nearness(size):
    return max(_NEAR, max(size) * _NEAR_PART)


def _rings(mask, near):
    """The rings around a mask's parts and holes, (N, 2) each, x and y."""
    x, y, w, h = (int(v) for v in rle.toBbox(mask))
    if not w or not h:
        return
    bitmap = np.zeros((h + 2, w + 2), np.float32)
    bitmap[1:-1, 1:-1] = rle.decode(mask)[y:y + h, x:x + w]
    # The line at one half runs through the middles of the pixels' sides; pixel 0 has its centre at 0.5.
    for ring in extra("contourpy", "the outlines of a report").contour_generator(z=bitmap).lines(0.5):
        yield _thinned(ring[:-1] + (x - 0.5, y - 0.5), near)


def _thinned(ring, near):
    """The ring without corners that hardly bend it; every second one is asked at a time, a few times."""
    for turn in range(_ROUNDS):
        if len(ring) < 6:
            break
        before, after = np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0)
        (x, y), (u, v) = (after - before).T, (ring - before).T
        bent = np.abs(x * v - y * u) > near * np.hypot(x, y)
        bent[turn % 2::2] = True
        if len(ring) % 2:  # the first and the last are neighbours
            bent[-1] = True
        ring = ring[bent]
    return ring


def _path(points):
    whole = np.rint(np.asarray(points) * 2).astype(np.int64)
    steps = np.diff(whole, axis=0)
    text = " ".join(f"{x} {y}" for x, y in steps.tolist())
    return f"M{whole[0, 0]} {whole[0, 1]}l{text}z".replace(" -", "-")
