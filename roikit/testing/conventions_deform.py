"""What others do in deform_conv2d: the reference on altered arguments."""

import numpy as np

from roikit import reference
from roikit.testing.variants import combine, trait

__all__ = ["DEFORM_CONV2D"]


def pair(x):
    return x if np.ndim(x) else (x, x)


def moved_to(offset, case, edge):
    """Offsets (N, DG, KH, KW, 2, OH, OW) whose samples lie where another edge rule takes them."""
    extent, kernel, places = case["input"].shape[2:], case["weight"].shape[2:], offset.shape[-2:]
    out = offset.copy()
    rules = zip(*(pair(case[name]) for name in ("stride", "padding", "dilation")), strict=True)
    for axis, (stride, padding, dilation) in enumerate(rules):
        start = (np.arange(places[axis]) * stride - padding).reshape((-1, 1) if axis == 0 else (-1,))
        tap = (np.arange(kernel[axis]) * dilation).reshape((-1, 1, 1, 1) if axis == 0 else (-1, 1, 1))
        at = start + tap + offset[:, :, :, :, axis]
        if edge == "border":
            at = np.clip(at, 0, extent[axis] - 1)
        elif edge == "nearest":
            at = np.rint(at)
        else:
            at = np.where((at >= 0) & (at <= extent[axis] - 1), at, np.nan)
        out[:, :, :, :, axis] = at - (start + tap)
    return out


def deform_model(case, got, *, order="y x", mask="factor", edge="zeros", offsets=True, bias=True, flipped=False):
    """``order`` is that of the offsets' channels: "y x" or "x y" of each tap, or "y...x" all y first."""
    offset, weight, factor = case["offset"], case["weight"], case["mask"]
    kernel = weight.shape[2:]
    taps = kernel[0] * kernel[1]
    images, groups, places = len(offset), offset.shape[1] // (2 * taps), offset.shape[2:]
    shape = (images, groups, *kernel, 2, *places)
    if order == "y...x":
        offset = np.moveaxis(offset.reshape(images, groups, 2, *kernel, *places), 2, 4)
    offset = offset.reshape(shape)
    offset = offset[:, :, :, :, ::-1] if order == "x y" else offset
    offset = offset if offsets else np.zeros_like(offset)
    with np.errstate(all="ignore"):
        offset = offset if edge == "zeros" else moved_to(offset, case, edge)
        if factor is not None and mask != "factor":
            factor = None if mask == "ignored" else (1 / (1 + np.exp(-factor))).astype(factor.dtype)
    altered = {"offset": np.ascontiguousarray(offset).reshape(case["offset"].shape), "mask": factor,
               "weight": weight[:, :, ::-1, ::-1] if flipped else weight, "bias": case["bias"] if bias else None}
    return reference.deform_conv2d(**{**case, **altered})


DEFORM_CONV2D = combine(deform_model, (
    trait("x-first", "the offset of a tap is x, then y", order="x y"),
    trait("all-y-first", "the offsets' channels are y of every tap, then x of every tap", order="y...x"),
    trait("offsets-ignored", "the offsets do not count: a plain convolution", offsets=False),
    trait("mask-ignored", "the mask does not count (v1)", needs="mask", mask="ignored"),
    trait("mask-sigmoid", "the mask goes through a sigmoid first", needs="mask", mask="sigmoid"),
    trait("edge-border", "samples outside are moved to the edge (grid_sample's border padding)", edge="border"),
    trait("edge-tight", "samples beyond [0, H - 1] are 0, not those beyond (-1, H)", edge="tight"),
    trait("nearest", "the nearest pixel is taken, not the bilinear value", edge="nearest"),
    trait("bias-ignored", "the bias does not count", needs="bias", bias=False),
    trait("kernel-flipped", "the kernel is turned round (convolution, not correlation)", flipped=True),
))
