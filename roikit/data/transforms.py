"""Transforms that act on an image, its boxes, masks, keypoints and label map together.

Each is called as ``transform(sample, rng)`` and returns a new Sample, which may share memory with the one given
but leaves it as it was; what is random about it is drawn from
``rng``, a numpy.random.Generator, and from nowhere else. Objects that a transform leaves no pixel of
are dropped.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from roikit.data import keypoints as kp
from roikit.data import rotated as turned
from roikit.data import segmentation as seg
from roikit.data.semantic import IGNORED

__all__ = ["BrightnessContrast", "Compose", "HorizontalFlip", "PerImageNormalize",
           "RandomScaleCrop", "Resize", "Rotate90", "Sample", "VerticalFlip", "image_tensor"]


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


@dataclass(frozen=True)
class Compose:
    """Apply ``transforms``, a sequence of callables, one after the other."""

    transforms: tuple

    def __call__(self, sample, rng):
        for transform in self.transforms:
            sample = transform(sample, rng)
        return sample


@dataclass(frozen=True)
class HorizontalFlip:
    """Mirror left and right with probability ``p``; left and right keypoints change places."""

    p: float = 0.5

    def __call__(self, sample, rng):
        if rng.random() >= self.p:
            return sample
        width = sample.size[1]
        return _moved(sample, lambda image: image[:, ::-1], lambda b: _mirrored(b, 0, width),
                      lambda m: seg.flip_horizontal(m, width),
                      lambda p: kp.mirror_keypoints(p, 0, width, _order(sample)),
                      lambda c: turned.mirror_corners(c, 0, width))


@dataclass(frozen=True)
class VerticalFlip:
    """Mirror top and bottom with probability ``p``; for images without an up, such as microscope's.

    Left and right keypoints change places, as in any mirror.
    """

    p: float = 0.5

    def __call__(self, sample, rng):
        if rng.random() >= self.p:
            return sample
        height = sample.size[0]
        return _moved(sample, lambda image: image[::-1], lambda b: _mirrored(b, 1, height),
                      lambda m: seg.flip_vertical(m, height),
                      lambda p: kp.mirror_keypoints(p, 1, height, _order(sample)),
                      lambda c: turned.mirror_corners(c, 1, height))


@dataclass(frozen=True)
class Rotate90:
    """Turn by 0, 90, 180 or 270 degrees counter-clockwise, each as likely as ``turns`` lists it."""

    turns: tuple = (0, 1, 2, 3)

    def __call__(self, sample, rng):
        for _ in range(int(rng.choice(self.turns)) % 4):
            width = sample.size[1]
            sample = _moved(sample, np.rot90, lambda b, w=width: _turned(b, w),
                            lambda m, w=width: seg.rotate(m, w), lambda p, w=width: kp.turn_keypoints(p, w),
                            lambda c, w=width: turned.turn_corners(c, w))
        return sample


@dataclass(frozen=True)
class Resize:
    """Scale so that the shorter side is one of ``min_sizes``, drawn evenly (multi-scale training).

    Args:
        min_sizes: lengths of the shorter side, pixels.
        max_size: the longer side is never longer than this, pixels; None for no such limit.

    The image is resampled bilinearly with a filter that widens when it shrinks; a pixel of a mask is
    set when at least half of it is covered, one of a label map is that which its centre lies in.
    """

    min_sizes: tuple
    max_size: int | None = None

    def __call__(self, sample, rng):
        height, width = sample.size
        scale = int(rng.choice(self.min_sizes)) / min(height, width)
        if self.max_size is not None:
            scale = min(scale, self.max_size / max(height, width))
        return _resized(sample, max(round(height * scale), 1), max(round(width * scale), 1))


@dataclass(frozen=True)
class RandomScaleCrop:
    """Scale by a random factor, then cut or pad to a fixed size (large-scale jitter).

    Args:
        size: (height, width) of the result, pixels.
        scale: (low, high); the factor is drawn evenly from it. At 1 the image just fits into ``size``.
        fill: value of the padding, in [0, 1].
        of: "fit"; or "pixels", where at 1 the image keeps its own pixels, as is usual for classes of pixels.

    The window, and the place of an image smaller than ``size``, are drawn evenly. The part that is
    kept is cut out before it is scaled, so its place is a whole pixel of the source.
    Boxes and areas become those of what is left of the masks. Keypoints outside the window are no longer labelled;
    in a label map the padding is ignored (255).

    Source: Ghiasi et al. 2021, "Simple Copy-Paste", arXiv:2012.07177, section 3.
    """

    size: tuple
    scale: tuple = (0.5, 2.0)
    fill: float = 0.0
    of: str = "fit"

    def __call__(self, sample, rng):
        (height, width), (high, wide) = sample.size, self.size
        factor = rng.uniform(*self.scale) * (min(high / height, wide / width) if self.of == "fit" else 1.0)
        window_h = min(max(round(high / factor), 1), height)
        window_w = min(max(round(wide / factor), 1), width)
        sample = _cropped(sample, int(rng.integers(height - window_h + 1)),
                          int(rng.integers(width - window_w + 1)), window_h, window_w)
        scaled_h = min(max(round(window_h * factor), 1), high)
        scaled_w = min(max(round(window_w * factor), 1), wide)
        sample = _resized(sample, scaled_h, scaled_w)
        y, x = int(rng.integers(high - scaled_h + 1)), int(rng.integers(wide - scaled_w + 1))
        return _cropped(sample, -y, -x, high, wide, self.fill)


@dataclass(frozen=True)
class BrightnessContrast:
    """Scale the distance of each value from the mid grey, then add a constant; results are clipped.

    Args:
        brightness: what is added is drawn evenly from [-brightness, brightness], in units of the
            full range.
        contrast: the factor is drawn evenly from [1 - contrast, 1 + contrast].
    """

    brightness: float = 0.2
    contrast: float = 0.2

    def __call__(self, sample, rng):
        factor = 1 + self.contrast * rng.uniform(-1, 1)
        shift = self.brightness * rng.uniform(-1, 1) + 0.5 * (1 - factor)
        return replace(sample, image=_linear(sample.image, factor, shift))


@dataclass(frozen=True)
class PerImageNormalize:
    """Stretch each image's own range of intensities to the full one, for images that are very dark.

    Args:
        low, high: the percentiles of all values (of all channels together, so that hues stay) that
            become 0 and 1; values beyond them are clipped.
        min_range: a range narrower than this, in units of the full range, is stretched as if it were
            this wide, so that a flat image stays flat instead of becoming noise.

    Nothing is random: training and prediction use the same transform.
    """

    low: float = 1.0
    high: float = 99.8
    min_range: float = 0.03

    def __call__(self, sample, rng=None):
        return replace(sample, image=self.image(sample.image))

    def image(self, image):
        """The stretched (H, W, 3) image, of the same dtype."""
        if not image.size:
            return image
        low, high = _percentiles(image, (self.low, self.high))
        factor = 1 / max(high - low, self.min_range)
        return _linear(image, factor, -low * factor)


def image_tensor(image):
    """An (H, W, 3) image array as the (3, H, W) float32 tensor in [0, 1] that the models take."""
    planes = np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32)
    if image.dtype.kind == "u":
        planes *= np.float32(1 / np.iinfo(image.dtype).max)
    return torch.from_numpy(planes if planes.flags.writeable else planes.copy())


def _percentiles(image, wanted):
    """Percentiles in units of the full range: the values at those ranks, from a histogram."""
    if image.dtype.kind == "f":
        return [float(v) for v in np.percentile(image, wanted)]
    top = np.iinfo(image.dtype).max
    values = np.ascontiguousarray(image).reshape(-1)
    if image.dtype == np.uint8:  # torch counts bytes five times as fast as NumPy
        ranks = torch.bincount(torch.from_numpy(values), minlength=top + 1).numpy().cumsum()
    else:
        ranks = np.bincount(values, minlength=top + 1).cumsum()
    return [int(np.searchsorted(ranks, max(ranks[-1] * p / 100, 1))) / top for p in wanted]


def _linear(image, factor, shift):
    """clip(value * factor + shift) in units of the full range, in the image's dtype."""
    if image.dtype.kind == "f":
        return np.clip(image * np.float32(factor) + np.float32(shift), 0, 1)
    top = np.iinfo(image.dtype).max
    table = np.clip(np.arange(top + 1) * factor + shift * top, 0, top)
    return np.rint(table).astype(image.dtype).take(image)


def _opened(masks):
    return None if masks is None else [seg.opened(m) for m in masks]


def _moved(sample, move_pixels, move_boxes, move_mask, move_points, move_corners):
    """A sample after a motion that neither loses nor resamples a pixel."""
    masks = None if sample.masks is None else [move_mask(m) for m in _opened(sample.masks)]
    return replace(sample, image=move_pixels(sample.image), boxes=move_boxes(sample.boxes), masks=masks,
                   crowd_boxes=move_boxes(sample.crowd_boxes), keypoints=_changed(sample.keypoints, move_points),
                   semantic=_changed(sample.semantic, move_pixels), corners=_changed(sample.corners, move_corners))


def _changed(value, change):
    return None if value is None else change(value)


def _order(sample):
    """The keypoint that shows in a mirror where each one was."""
    return np.arange(sample.keypoints.shape[1]) if sample.mirrored is None else sample.mirrored


def _mirrored(boxes, axis, length):
    boxes = boxes.copy()
    boxes[:, [axis, axis + 2]] = length - boxes[:, [axis + 2, axis]]
    return boxes


def _turned(boxes, width):
    x1, y1, x2, y2 = boxes.T
    return np.stack([y1, width - x2, y2, width - x1], axis=1)


def _resized(sample, height, width):
    old_height, old_width = sample.size
    if (height, width) == (old_height, old_width):
        return sample
    y_scale, x_scale = height / old_height, width / old_width
    factors = np.array([x_scale, y_scale, x_scale, y_scale])
    moved = replace(sample, image=_resampled(sample.image, height, width),
                    boxes=sample.boxes * factors, area=sample.area * (y_scale * x_scale),
                    crowd_boxes=sample.crowd_boxes * factors,
                    keypoints=_changed(sample.keypoints, lambda p: kp.resize_keypoints(p, y_scale, x_scale)),
                    semantic=_changed(sample.semantic, lambda labels: _nearest(labels, height, width)),
                    corners=_changed(sample.corners, lambda c: c * np.array([x_scale, y_scale])))
    if sample.masks is None:
        return moved
    masks = [seg.resize(m, y_scale, x_scale) for m in _opened(sample.masks)]
    return _select(replace(moved, masks=masks), [m is not None for m in masks])


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


def _cropped(sample, y, x, height, width, fill=0.0):
    """The window (y, x, height, width), which may reach beyond the image, of a sample."""
    old_height, old_width = sample.size
    deep = sample.image.dtype.kind == "u"
    image = _window(sample.image, y, x, height, width, round(fill * np.iinfo(sample.image.dtype).max) if deep else fill)
    # The window may be larger than the image: what lay outside the image stays outside.
    limits = np.array([max(-x, 0), max(-y, 0), min(old_width - x, width),
                       min(old_height - y, height)], dtype=np.float64)
    shift = np.array([x, y, x, y], dtype=np.float64)
    crowds = _clipped(sample.crowd_boxes - shift, limits)
    crowds = crowds[_has_area(crowds)]
    boxes = _clipped(sample.boxes - shift, limits)
    moved = replace(sample, image=image, boxes=boxes, crowd_boxes=crowds,
                    keypoints=_changed(sample.keypoints, lambda p: kp.crop_keypoints(p, y, x, limits)),
                    semantic=_changed(sample.semantic, lambda m: _window(m, y, x, height, width, IGNORED)),
                    corners=_changed(sample.corners, lambda c: c - np.array([x, y], np.float64)))
    if sample.masks is None:
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        return _select(replace(moved, area=area), _has_area(boxes))
    masks = [seg.crop(m, (y, x, height, width), sample.size) for m in _opened(sample.masks)]
    moved = _select(replace(moved, masks=masks), [m is not None for m in masks])
    tight = [seg.box_and_area(m, height, width) for m in moved.masks]
    return replace(moved, boxes=np.array([b for b, _ in tight], np.float64).reshape(-1, 4),
                   area=np.array([a for _, a in tight], np.float64))


def _clipped(boxes, limits):
    return np.clip(boxes, limits[[0, 1, 0, 1]], limits[[2, 3, 2, 3]])


def _has_area(boxes):
    return (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


def _select(sample, keep):
    """The sample with those objects alone whose entry in ``keep`` is true."""
    keep = np.asarray(keep, dtype=bool)
    if keep.all():
        return sample
    masks = None if sample.masks is None else [m for m, k in zip(sample.masks, keep, strict=True) if k]
    return replace(sample, boxes=sample.boxes[keep], labels=sample.labels[keep], area=sample.area[keep], masks=masks,
                   keypoints=_changed(sample.keypoints, lambda p: p[keep]),
                   corners=_changed(sample.corners, lambda c: c[keep]))
