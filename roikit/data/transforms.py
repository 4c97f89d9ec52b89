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
from roikit.data.mixing import CopyPaste, Mosaic
from roikit.data.motions import Sample, cropped, moved, resized
from roikit.data.rotation import RandomRotation

__all__ = ["BrightnessContrast", "Compose", "CopyPaste", "HorizontalFlip", "Mosaic", "PerImageNormalize",
           "RandomRotation", "RandomScaleCrop", "Resize", "Rotate90", "Sample", "VerticalFlip", "image_tensor"]


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
        return moved(sample, lambda image: image[:, ::-1], lambda b: _mirrored(b, 0, width),
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
        return moved(sample, lambda image: image[::-1], lambda b: _mirrored(b, 1, height),
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
            sample = moved(sample, np.rot90, lambda b, w=width: _turned(b, w),
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
        return resized(sample, max(round(height * scale), 1), max(round(width * scale), 1))


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
        sample = cropped(sample, int(rng.integers(height - window_h + 1)),
                          int(rng.integers(width - window_w + 1)), window_h, window_w)
        scaled_h = min(max(round(window_h * factor), 1), high)
        scaled_w = min(max(round(window_w * factor), 1), wide)
        sample = resized(sample, scaled_h, scaled_w)
        y, x = int(rng.integers(high - scaled_h + 1)), int(rng.integers(wide - scaled_w + 1))
        return cropped(sample, -y, -x, high, wide, self.fill)


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
