"""A sample, and the motions of it that transforms are made of: mirrored or turned, resized, cut.

An image, its boxes, masks, keypoints, corners of rotated boxes and label map move together.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from roikit.data import keypoints as kp
from roikit.data import segmentation as seg
from roikit.data.semantic import IGNORED

__all__ = ["Sample", "changed", "clipped", "cropped", "has_area", "moved", "opened_masks", "resized", "select",
           "with_masks"]


@dataclass(frozen=True)
class Sample:
    """One image and its objects, as transforms see them.

    Attributes:
        image: (H, W, 3) array, uint8 or uint16 over their full range, or float32 in [0, 1].
        boxes: (N, 4) float64, x1 y1 x2 y2 in pixels.
        labels: (N,) int64, from 1.
        area: (N,) float64, pixels.
        masks: list of N masks, each an RLE, a list of polygons or a BoxedMask; None without masks.
        crowd_boxes: (M, 4) float64, boxes of crowds, which are no objects.
        keypoints: (N, K, 3) float64, x and y in pixels and visibility, as `roikit.data.keypoints` has them; None
            without.
        mirrored: (K,) int64, the keypoint that shows in a mirror where each one was; None where each stays itself.
        semantic: (H, W) uint8, a class for each pixel, as `roikit.data.semantic` has them; None without.
        corners: (N, 4, 2) float64, the corners of rotated boxes, as `roikit.data.rotated` has them; None without.
    """

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    area: np.ndarray
    masks: list | None
    crowd_boxes: np.ndarray
    keypoints: np.ndarray | None = None
    mirrored: np.ndarray | None = None
    semantic: np.ndarray | None = None
    corners: np.ndarray | None = None

    @property
    def size(self):
        """(height, width) of the image in pixels."""
        return self.image.shape[:2]


def opened_masks(masks):
    """Masks of which each RLE is a BoxedMask; None of None."""
    return None if masks is None else [seg.opened(m) for m in masks]


def moved(sample, move_pixels, move_boxes, move_mask, move_points, move_corners):
    """A sample after a motion that neither loses nor resamples a pixel."""
    masks = None if sample.masks is None else [move_mask(m) for m in opened_masks(sample.masks)]
    return replace(sample, image=move_pixels(sample.image), boxes=move_boxes(sample.boxes), masks=masks,
                   crowd_boxes=move_boxes(sample.crowd_boxes), keypoints=changed(sample.keypoints, move_points),
                   semantic=changed(sample.semantic, move_pixels), corners=changed(sample.corners, move_corners))


def changed(value, change):
    """``change(value)``, or None of None."""
    return None if value is None else change(value)


def resized(sample, height, width):
    """The sample of another size, every part of it as `Resize` says."""
    old_height, old_width = sample.size
    if (height, width) == (old_height, old_width):
        return sample
    y_scale, x_scale = height / old_height, width / old_width
    factors = np.array([x_scale, y_scale, x_scale, y_scale])
    new = replace(sample, image=_resampled(sample.image, height, width),
                  boxes=sample.boxes * factors, area=sample.area * (y_scale * x_scale),
                  crowd_boxes=sample.crowd_boxes * factors,
                  keypoints=changed(sample.keypoints, lambda p: kp.resize_keypoints(p, y_scale, x_scale)),
                  semantic=changed(sample.semantic, lambda labels: _nearest(labels, height, width)),
                  corners=changed(sample.corners, lambda c: c * np.array([x_scale, y_scale])))
    if sample.masks is None:
        return new
    masks = [seg.resize(m, y_scale, x_scale) for m in opened_masks(sample.masks)]
    return select(replace(new, masks=masks), [m is not None for m in masks])


def _resampled(image, height, width):
    """Bilinear with antialiasing, by torch; uint8 stays uint8, and so does uint16."""
    deep = image.dtype == np.uint16
    planes = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32 if deep else None))
    planes = planes.permute(2, 0, 1)[None]
    planes = torch.nn.functional.interpolate(planes, size=(height, width), mode="bilinear",
                                             antialias=True)
    result = planes[0].permute(1, 2, 0).contiguous().numpy()
    return np.rint(result).astype(np.uint16) if deep else result


def _nearest(labels, height, width):
    """Each pixel of the result is that of (H, W) labels which its centre lies in."""
    rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip((height, width), labels.shape,
                                                                                     strict=True))
    return labels[rows[:, None], columns]


def _window(pixels, y, x, height, width, fill):
    """The window of an array (H, W, ...) of pixels, which is ``fill`` beyond it."""
    part = pixels[max(y, 0):y + height, max(x, 0):x + width]
    if part.shape[:2] == (height, width):
        return part
    canvas = np.full((height, width, *pixels.shape[2:]), fill, pixels.dtype)
    at_y, at_x = max(-y, 0), max(-x, 0)
    canvas[at_y:at_y + part.shape[0], at_x:at_x + part.shape[1]] = part
    return canvas


def cropped(sample, y, x, height, width, fill=0.0):
    """The window (y, x, height, width), which may reach beyond the image, of a sample."""
    old_height, old_width = sample.size
    deep = sample.image.dtype.kind == "u"
    image = _window(sample.image, y, x, height, width, round(fill * np.iinfo(sample.image.dtype).max) if deep else fill)
    # The window may be larger than the image: what lay outside the image stays outside.
    limits = np.array([max(-x, 0), max(-y, 0), min(old_width - x, width),
                       min(old_height - y, height)], dtype=np.float64)
    shift = np.array([x, y, x, y], dtype=np.float64)
    crowds = clipped(sample.crowd_boxes - shift, limits)
    crowds = crowds[has_area(crowds)]
    boxes = clipped(sample.boxes - shift, limits)
    new = replace(sample, image=image, boxes=boxes, crowd_boxes=crowds,
                  keypoints=changed(sample.keypoints, lambda p: kp.crop_keypoints(p, y, x, limits)),
                  semantic=changed(sample.semantic, lambda m: _window(m, y, x, height, width, IGNORED)),
                  corners=changed(sample.corners, lambda c: c - np.array([x, y], np.float64)))
    if sample.masks is None:
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        return select(replace(new, area=area), has_area(boxes))
    masks = [seg.crop(m, (y, x, height, width), sample.size) for m in opened_masks(sample.masks)]
    return with_masks(new, masks)


def with_masks(sample, masks):
    """The sample with other masks, boxes and areas from them, without the objects whose mask is None."""
    new = select(replace(sample, masks=masks), [m is not None for m in masks])
    tight = [seg.box_and_area(m, *sample.size) for m in new.masks]
    return replace(new, boxes=np.array([b for b, _ in tight], np.float64).reshape(-1, 4),
                   area=np.array([a for _, a in tight], np.float64))


def clipped(boxes, limits):
    """(N, 4) boxes cut at x1, y1, x2, y2."""
    return np.clip(boxes, limits[[0, 1, 0, 1]], limits[[2, 3, 2, 3]])


def has_area(boxes):
    """(N,) bool of (N, 4) boxes."""
    return (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


def select(sample, keep):
    """The sample with those objects alone whose entry in ``keep`` is true."""
    keep = np.asarray(keep, dtype=bool)
    if keep.all():
        return sample
    masks = None if sample.masks is None else [m for m, k in zip(sample.masks, keep, strict=True) if k]
    return replace(sample, boxes=sample.boxes[keep], labels=sample.labels[keep], area=sample.area[keep], masks=masks,
                   keypoints=changed(sample.keypoints, lambda p: p[keep]),
                   corners=changed(sample.corners, lambda c: c[keep]))
