"""deform_conv2d: its arguments, its bound, and what others do."""

import numpy as np
from hypothesis import strategies as st

from roikit import reference
from roikit.reference.deform_conv import TOLERANCE
from roikit.testing.draws import DTYPES
from roikit.testing.judging import Op
from roikit.testing.variants import combine, trait

__all__ = ["OPS"]


@st.composite
def deform_conv2d(draw, awkward):
    dtype, few = draw(DTYPES), st.integers(1, 2)
    images, groups, shared, outputs = (draw(few) for _ in range(4))
    kernel, stride, dilation = (tuple(draw(st.integers(1, most)) for _ in range(2)) for most in (3, 2, 2))
    padding = draw(st.integers(0, 1)), draw(st.integers(0, 1))
    places, extent = [], []
    for k, s, p, d in zip(kernel, stride, padding, dilation, strict=True):
        extent.append(max((draw(st.integers(1, 3)) - 1) * s + d * (k - 1) + 1 - 2 * p, 1))
        places.append((extent[-1] + 2 * p - d * (k - 1) - 1) // s + 1)
    taps = shared * kernel[0] * kernel[1]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def quarters(most, *shape):
        return (rng.integers(-4 * most, 4 * most + 1, shape) / 4).astype(dtype)

    channels = 2 * groups  # a multiple of both kinds of groups
    offset = quarters(2, images, 2 * taps, *places)
    if awkward:  # NaN is left out: torchvision's reads out of bounds there, and takes the process with it
        special = rng.choice([np.inf, -np.inf, 1e9, -1e9, 0, -1, 1], offset.shape)
        offset = np.where(rng.random(offset.shape) < 0.2, special, offset).astype(dtype)
    return {"input": quarters(4, images, channels, *extent), "offset": offset,
            "weight": quarters(2, outputs * groups, channels // groups, *kernel),
            "bias": quarters(4, outputs * groups) if draw(st.booleans()) else None,
            "stride": stride, "padding": padding, "dilation": dilation,
            "mask": quarters(2, images, taps, *places) if draw(st.booleans()) else None}


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


def _deform_bound(case, expected):
    sizes = {name: None if case[name] is None else np.abs(case[name]) for name in ("input", "weight", "bias", "mask")}
    return TOLERANCE[str(expected.dtype)] * np.maximum(reference.deform_conv2d(**{**case, **sizes}), 1)


OPS = (
    Op("deform_conv2d", reference.deform_conv2d, "offsets are y, then x, of each tap; a sample counts within (-1, H), "
       "taps outside the map are 0; the mask multiplies samples", DEFORM_CONV2D, 8, _deform_bound,
       arguments=deform_conv2d),
)
