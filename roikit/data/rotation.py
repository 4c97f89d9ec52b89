"""Turning a sample by any angle: masks turn pixel by pixel, or point by point, and boxes are those of the masks."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from roikit.data import keypoints as kp
from roikit.data import segmentation as seg
from roikit.data.motions import Sample, changed, clipped, has_area, opened_masks, select, with_masks
from roikit.data.semantic import IGNORED

__all__ = ["RandomRotation"]


@dataclass(frozen=True)
class RandomRotation:
    """Turn about the centre by an angle drawn evenly from [-degrees, degrees], counter-clockwise; the size stays.

    Polygons turn point by point, cut at the old border where they reached over it. A pixel of a bitmap, or of a label
    map, is the one that its centre comes from. Boxes and areas become those of the masks, never those around turned
    boxes, and objects of which no pixel is left are gone. Keypoints that leave the image are no longer labelled.
    Rotated boxes turn exactly, and are not cut. Boxes of crowds, which are regions to ignore, become those around their
    turned corners. The image is resampled bilinearly, black beyond its border, where a label map is ignored (255).

    Args:
        degrees: 0 to 180.

    Raises:
        ValueError: objects have neither masks nor rotated boxes, so that their boxes cannot be told.
    """

    degrees: float

    def __call__(self, sample: Sample, rng):
        return rotated(sample, rng.uniform(-self.degrees, self.degrees))


def rotated(sample, degrees):
    """A sample turned by degrees counter-clockwise."""
    if sample.masks is None and sample.corners is None and len(sample.boxes):
        raise ValueError("RandomRotation: objects must have masks, from which the boxes of turned objects follow, got "
                         "boxes alone")
    turn = _Turn(math.radians(degrees), *sample.size)
    height, width = sample.size
    limits = np.array([0.0, 0.0, width, height])
    crowds = turn.around(sample.crowd_boxes, limits)
    new = replace(sample, image=turn.image(sample.image), crowd_boxes=crowds[has_area(crowds)],
                  keypoints=changed(sample.keypoints, lambda p: kp.crop_keypoints(turn.keypoints(p), 0, 0, limits)),
                  semantic=changed(sample.semantic, turn.labels), corners=changed(sample.corners, turn.points))
    if sample.masks is not None:
        return with_masks(new, [turn.mask(mask) for mask in opened_masks(sample.masks)])
    if new.corners is None:
        return new
    boxes = clipped(np.concatenate([new.corners.min(1), new.corners.max(1)], 1).reshape(-1, 4), limits)
    return select(replace(new, boxes=boxes), has_area(boxes))


class _Turn:
    """A turn by radians counter-clockwise about the centre of an image."""

    def __init__(self, radians, height, width):
        self.height, self.width = height, width
        self.cos, self.sin = math.cos(radians), math.sin(radians)
        self.centre = np.array([width / 2, height / 2])

    def points(self, points):
        """(..., 2) x, y after the turn."""
        x, y = np.moveaxis(points - self.centre, -1, 0)
        return np.stack([self.cos * x + self.sin * y, self.cos * y - self.sin * x], -1) + self.centre

    def sources(self, y, x, height, width):
        """Where the centres of the pixels of a window come from: (height, width) x and y."""
        columns = np.arange(x, x + width) + 0.5 - self.centre[0]
        rows = (np.arange(y, y + height) + 0.5 - self.centre[1])[:, None]
        return (self.cos * columns - self.sin * rows + self.centre[0],
                self.sin * columns + self.cos * rows + self.centre[1])

    def around(self, boxes, limits):
        """(N, 4) boxes around turned ones, cut at the border."""
        corners = self.points(boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2))
        return clipped(np.concatenate([corners.min(1), corners.max(1)], 1), limits)

    def keypoints(self, points):
        return np.concatenate([self.points(points[..., :2]), points[..., 2:]], -1)

    def image(self, image):
        x, y = self.sources(0, 0, self.height, self.width)
        grid = np.stack([2 * x / self.width - 1, 2 * y / self.height - 1], -1).astype(np.float32)
        planes = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1), np.float32))
        turned = torch.nn.functional.grid_sample(planes[None], torch.from_numpy(grid)[None], mode="bilinear",
                                                 padding_mode="zeros", align_corners=False)[0].permute(1, 2, 0).numpy()
        return turned if image.dtype.kind == "f" else np.rint(turned).astype(image.dtype)

    def labels(self, labels):
        found, inside = self._taken(labels, 0, 0, 0, 0, self.height, self.width)
        return np.where(inside, found, IGNORED).astype(labels.dtype)

    def mask(self, mask):
        """A mask, polygons or a BoxedMask, after the turn; None when no pixel is left."""
        if isinstance(mask, list):
            mask = seg.within(mask, self.height, self.width)
        if isinstance(mask, list):
            rings = [self.points(ring.reshape(-1, 2)).reshape(-1) for ring in mask]
            return rings if seg.box_and_area(rings, self.height, self.width)[1] else None
        h, w = mask.bitmap.shape
        if not mask.bitmap.size:
            return None
        box = self.around(np.array([[mask.x, mask.y, mask.x + w, mask.y + h]], np.float64),
                          np.array([0, 0, self.width, self.height]))[0]
        x1, y1, x2, y2 = *np.floor(box[:2]).astype(int), *np.ceil(box[2:]).astype(int)
        found, inside = self._taken(mask.bitmap, mask.y, mask.x, y1, x1, y2 - y1, x2 - x1)
        return seg.trimmed(found & inside, int(y1), int(x1))

    def _taken(self, pixels, at_y, at_x, y, x, height, width):
        """The pixels of a window from those of an array that lies at (at_y, at_x); and where there are any."""
        columns, rows = (np.floor(v).astype(np.int64) for v in self.sources(y, x, height, width))
        columns, rows = columns - at_x, rows - at_y
        inside = (rows >= 0) & (rows < pixels.shape[0]) & (columns >= 0) & (columns < pixels.shape[1])
        return pixels[np.where(inside, rows, 0), np.where(inside, columns, 0)], inside
