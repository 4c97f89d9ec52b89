"""Samples made of bitmaps, and bitmaps of samples."""

import numpy as np

import roikit.masks as rle
from roikit.data import transforms as T
from roikit.data.segmentation import encode


def generator(seed=0):
    return np.random.default_rng(seed)


def dense(masks, size):
    """(N, H, W) of masks in any form."""
    found = np.zeros((len(masks), *size), np.uint8)
    for one, mask in zip(found, masks, strict=True):
        mask = encode(mask, *size)
        if isinstance(mask, list):
            mask = rle.merge(rle.frPyObjects(mask, *size))
        one[...] = rle.decode(mask)
    return found


def tight(bitmaps):
    """(N, 4) boxes around bitmaps (N, H, W)."""
    boxes = np.zeros((len(bitmaps), 4))
    for box, bitmap in zip(boxes, bitmaps, strict=True):
        y, x = np.nonzero(bitmap)
        box[:] = x.min(), y.min(), x.max() + 1, y.max() + 1
    return boxes


def as_sample(bitmaps, image=None):
    """A sample of RLE masks around bitmaps (N, H, W); the image shows the first of them."""
    if image is None:
        image = np.repeat(bitmaps[0][:, :, None] * np.uint8(200), 3, axis=2)
    masks = [rle.encode(np.asfortranarray(bitmap)) for bitmap in bitmaps]
    area = bitmaps.sum(axis=(1, 2), dtype=np.float64)
    return T.Sample(image, tight(bitmaps), np.arange(1, len(bitmaps) + 1), area, masks,
                    tight(bitmaps)[:1])
