"""Training images made of several: objects pasted from another image, and windows of four side by side."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from roikit.data import segmentation as seg
from roikit.data.motions import Sample, cropped, select, with_masks

__all__ = ["CopyPaste", "Mosaic"]

_SHARE = 0.5  # of the objects of the other image are pasted


@dataclass(frozen=True)
class CopyPaste:
    """Paste objects of another image with probability ``p``: of an image drawn from all, each object as likely as not.

    The pixels of their masks replace those of the image. What they cover is no longer of the objects below: those masks
    lose it, boxes and areas become those of what is left, wholly covered objects are gone, and their keypoints that are
    covered are labelled but not visible (1). Label maps have the pasted pixels' classes. Rotated boxes of the
    annotations stay whole, and boxes of crowds stay. An image of another size is cut, or lies anywhere within this one.

    Args:
        p: probability, 0 to 1.
        source: an object with ``__len__`` and ``sample(index)``, such as a data set.
        prepare: what is done to the other image's sample first, a callable (Sample, Generator) -> Sample; None for
            nothing. Take the changes that come before this one, as the source does.

    Raises:
        ValueError: samples without masks.

    Source: Ghiasi et al. 2021, "Simple Copy-Paste", arXiv:2012.07177, section 3, without blending of edges, which their
    table 2 finds to bring nothing.
    """

    p: float
    source: Any
    prepare: Any = None

    def __call__(self, sample: Sample, rng):
        if rng.random() >= self.p:
            return sample
        other = self.source.sample(int(rng.integers(len(self.source))))
        if self.prepare is not None:
            other = self.prepare(other, rng)
        if sample.masks is None or other.masks is None:
            raise ValueError("CopyPaste: objects must have masks, got boxes alone")
        (height, width), (high, wide) = sample.size, other.size
        y, x = (int(rng.integers(min(gap, 0), max(gap, 0) + 1)) for gap in (high - height, wide - width))
        other = cropped(other, y, x, height, width)
        other = select(other, rng.random(len(other.labels)) < _SHARE)
        return pasted(sample, other) if len(other.labels) else sample


@dataclass(frozen=True)
class Mosaic:
    """Make an image of windows of four with probability ``p``: of itself and of three that are drawn from all.

    The windows meet in a point drawn evenly from the middle half of each side, and each is a part of its image drawn
    evenly, at its own scale; the result has the size of the image. Objects are cut as by `RandomScaleCrop`.

    Args:
        p: probability, 0 to 1.
        source, prepare: as for `CopyPaste`.

    Source: Bochkovskiy et al. 2020, "YOLOv4", arXiv:2004.10934, section 3.3 and figure 3; there images are resized.
    """

    p: float
    source: Any
    prepare: Any = None

    def __call__(self, sample: Sample, rng):
        if rng.random() >= self.p:
            return sample
        samples = [sample]
        for _ in range(3):
            other = self.source.sample(int(rng.integers(len(self.source))))
            samples.append(other if self.prepare is None else self.prepare(other, rng))
        height, width = sample.size
        middle_y, middle_x = (int(round(length * rng.uniform(0.25, 0.75))) for length in (height, width))
        parts, image = [], np.zeros_like(sample.image)
        for k, each in enumerate(samples):
            y, h = ((0, middle_y), (middle_y, height - middle_y))[k // 2]
            x, w = ((0, middle_x), (middle_x, width - middle_x))[k % 2]
            if not h or not w:  # of an image a pixel high, say
                continue
            high, wide = each.size
            from_y, from_x = (int(rng.integers(max(gap, 0) + 1)) for gap in (high - h, wide - w))
            part = cropped(each, from_y, from_x, h, w)
            image[y:y + h, x:x + w] = as_kind(part.image, image.dtype)
            parts.append((y, x, cropped(part, -y, -x, height, width)))
        semantic = None
        if sample.semantic is not None:
            semantic = parts[0][2].semantic.copy()
            for y, x, part in parts[1:]:
                semantic[y:, x:] = part.semantic[y:, x:]
        joined = parts[0][2]
        for *_, part in parts[1:]:
            joined = together(joined, part)
        return replace(joined, image=image, semantic=semantic)


def pasted(sample, other):
    """A sample with all objects of another of the same size on top."""
    height, width = sample.size
    cover = np.zeros((height, width), bool)
    for mask in (seg.rasterised(m, height, width) for m in other.masks):
        (h, w), y, x = mask.bitmap.shape, mask.y, mask.x
        cover[y:y + h, x:x + w] |= mask.bitmap
    image = np.where(cover[:, :, None], as_kind(other.image, sample.image.dtype), sample.image)
    semantic = sample.semantic
    if semantic is not None:
        semantic = np.where(cover, other.semantic, semantic)
    other = replace(other, crowd_boxes=np.zeros((0, 4)))  # what is of no object is not pasted
    return replace(together(_uncovered(sample, cover), other), image=image, semantic=semantic)


def _uncovered(sample, cover):
    """The sample with what ``cover`` leaves of its objects; those that it does not touch are as they were."""
    size, masks = sample.size, []
    touched = np.zeros(len(sample.masks), bool)
    for k, mask in enumerate(sample.masks):
        opened = seg.rasterised(mask, *size)
        (h, w), y, x = opened.bitmap.shape, opened.y, opened.x
        over = cover[y:y + h, x:x + w] & opened.bitmap
        touched[k] = over.any()
        masks.append(seg.trimmed(opened.bitmap & ~over, y, x) if touched[k] else mask)
    if not touched.any():
        return sample
    points = sample.keypoints
    if points is not None:
        columns, rows = (np.clip(np.floor(points[..., k]).astype(np.int64), 0, size[1 - k] - 1) for k in (0, 1))
        points = points.copy()
        points[..., 2] = np.where(cover[rows, columns], np.minimum(points[..., 2], 1), points[..., 2])
    kept = [mask is not None for mask in masks]
    new = with_masks(replace(sample, keypoints=points), masks)
    still = ~touched[kept]  # a box that the file states stays what it states
    new.boxes[still], new.area[still] = sample.boxes[kept][still], sample.area[kept][still]
    return new


def together(one, two):
    """The objects of two samples of one size; the image and the label map are those of the first."""
    def joined(name):
        pair = getattr(one, name), getattr(two, name)
        return None if pair[0] is None else np.concatenate(pair)

    masks = None if one.masks is None else [*one.masks, *two.masks]
    return replace(one, masks=masks, **{name: joined(name) for name in (
        "boxes", "labels", "area", "crowd_boxes", "keypoints", "corners")})


def as_kind(image, dtype):
    """An image's values over the full range of another dtype."""
    if image.dtype == dtype:
        return image
    top = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1.0
    values = image.astype(np.float64) / top
    return values.astype(dtype) if np.dtype(dtype).kind == "f" else np.rint(values * np.iinfo(dtype).max).astype(dtype)
