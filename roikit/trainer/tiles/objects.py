"""The objects of one tile, and which of them another tile sees better."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from roikit import masks as rle
from roikit.data.rotated import corners_of_boxes, upright_boxes
from roikit.trainer.tiles.grid import Window

__all__ = ["TileObjects", "objects_of", "seen_best", "touching"]

# Two tiles draw an object's outline a little differently. That none is left out by both, more is asked for before an
# object counts as well inside the other tile than for one that counts as cut by its own.
CUT = 4  # pixels from a border
INSIDE = 12


@dataclass(frozen=True)
class TileObjects:
    """Detections of a tile, N in all, in the tile's own pixels.

    Attributes:
        window: the tile's place.
        rows: name -> (N, ...) array, of what the model gives (boxes, labels, scores, ...) but the masks.
        masks: list of N RLEs at the tile's size, or None where the model has none.
        shapes: list of N RLEs, the masks or else the boxes: what objects are compared by.
        extents: (N, 4) whole numbers, x1 y1 x2 y2 around each shape.
    """

    window: Window
    rows: dict
    masks: list | None
    shapes: list
    extents: np.ndarray

    def __len__(self):
        return len(self.shapes)

    def chosen(self, keep):
        """Those of the places ``keep``."""
        return replace(self, rows={name: values[keep] for name, values in self.rows.items()},
                       masks=self.masks and [self.masks[k] for k in keep], shapes=[self.shapes[k] for k in keep],
                       extents=self.extents[keep])


def objects_of(window, output):
    """What a model gave for a tile as `TileObjects`."""
    rows = {name: _array(values) for name, values in output.items() if name != "masks"}
    masks = output.get("masks")
    boxes = rows["boxes"].astype(np.float64)
    shapes = list(masks) if masks is not None else [None] * len(boxes)
    # A mask may have no pixel; its box still says where the object is.
    bare = [k for k, shape in enumerate(shapes) if shape is None or not rle.area(shape)]
    if bare:
        for k, shape in zip(bare, _drawn(boxes[bare], window), strict=True):
            shapes[k] = shape
    extents = rle.toBbox(shapes) if shapes else np.zeros((0, 4))
    extents[:, 2:] += extents[:, :2]
    return TileObjects(window, rows, masks, shapes, extents.astype(np.int64))


def _array(values):
    """A tensor as an array; NumPy has no bfloat16."""
    values = values.detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


def _drawn(boxes, window):
    """RLEs of boxes (K, 4) or (K, 5), at least a pixel each."""
    if boxes.shape[1] == 5:
        corners = corners_of_boxes(boxes).reshape(-1, 8)
        found = [rle.frPyObjects([list(c)], window.height, window.width)[0] for c in corners.tolist()]
        boxes = upright_boxes(boxes)
    else:
        found = [None] * len(boxes)
    low = np.floor(boxes[:, :2]).clip(0, (window.width - 1, window.height - 1)).astype(int)
    high = np.maximum(np.ceil(boxes[:, 2:]).clip(0, (window.width, window.height)).astype(int), low + 1)
    for k, ((x1, y1), (x2, y2)) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
        if found[k] is None or not rle.area(found[k]):
            block = rle.encode(np.ones((y2 - y1, x2 - x1), np.uint8, order="F"))
            found[k] = rle.frames.shift([block], y1, x1, window.height, window.width)[0]
    return found


def seen_best(objects, windows, size):
    """The places of the objects that no other tile sees further.

    An object at a tile's border is left to a neighbour beyond it if all that the tile has of it lies well inside that
    neighbour: it sees those pixels, and what comes behind the border as well. An object that reaches across the whole
    overlap stays in both, to be joined.

    Args:
        objects: `TileObjects`.
        windows: all tiles of the picture.
        size: (height, width) of the picture.

    Returns:
        (K,) int64.
    """
    own, keep = objects.window, np.ones(len(objects), bool)
    for low, high, begin, end, length in ((0, 2, "left", "right", size[1]), (1, 3, "top", "bottom", size[0])):
        a, b = getattr(own, begin), getattr(own, end)
        first, last = objects.extents[:, low] + a, objects.extents[:, high] + a
        spans = {(getattr(w, begin), getattr(w, end)) for w in windows}
        if b < length:
            further = min((x for x, y in spans if y > b and x < b), default=b)
            keep &= (last <= b - CUT) | (first < further + INSIDE)
        if a > 0:
            further = max((y for x, y in spans if x < a and y > a), default=a)
            keep &= (first >= a + CUT) | (last > further - INSIDE)
    return np.flatnonzero(keep)


def touching(objects, size):
    """(N,) bool: whether an object's shape ends at a border of its tile that is none of the picture, and so is cut."""
    own, (x1, y1, x2, y2) = objects.window, objects.extents.T
    return ((x1 <= 1) & (own.left > 0) | (y1 <= 1) & (own.top > 0)
            | (x2 >= own.width - 1) & (own.right < size[1]) | (y2 >= own.height - 1) & (own.bottom < size[0]))
