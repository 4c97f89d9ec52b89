"""ps_roi_align and ps_roi_pool: their arguments, and what others do."""

import numpy as np
from hypothesis import strategies as st

from roikit import reference
from roikit.reference.arguments import as_rois
from roikit.testing import strategies as some
from roikit.testing.draws import SAMPLED, SCALES, SIZES, maps_of, rois_of
from roikit.testing.judged.roi_align import ALIGN, align_bound, roi_align_model
from roikit.testing.judged.roi_pool import CORNERS, ROUNDED
from roikit.testing.judging import Op
from roikit.testing.variants import combine, trait

__all__ = ["OPS"]


@st.composite
def ps_roi_pool(draw, awkward, kinds=some.KINDS):
    size = draw(SIZES)
    rows, columns = size if np.ndim(size) else (size, size)
    maps = maps_of(draw, awkward, channels=draw(st.integers(1, 2)) * rows * columns)
    return {"input": maps, "boxes": rois_of(draw, awkward, len(maps), kinds=kinds), "output_size": size,
            "spatial_scale": draw(SCALES)}


@st.composite
def ps_roi_align(draw, awkward):
    case = draw(ps_roi_pool(awkward, kinds=SAMPLED))
    return {**case, "sampling_ratio": draw(st.sampled_from([-1, 2, 1, 3, 0]))}


def pair(size):
    return size if np.ndim(size) else (size, size)


def channel_of(c, ph, pw, size, channels, order):
    """The input channel of bin (ph, pw) of output channel c, of ``channels`` output channels."""
    rows, columns = size
    return {"c ph pw": (c * rows + ph) * columns + pw, "ph pw c": (ph * columns + pw) * channels + c,
            "c pw ph": (c * columns + pw) * rows + ph}[order]


ORDERS = (
    trait("channels-bin-major", "bin (ph, pw) of channel c reads channel (ph * PW + pw) * C + c", order="ph pw c"),
    trait("channels-transposed", "bin (ph, pw) of channel c reads channel (c * PW + pw) * PH + ph", order="c pw ph"),
)


def without_samples(case):
    """Finite RoIs whose adaptive grid has 0 samples along an axis."""
    if case["sampling_ratio"] > 0:
        return np.zeros(len(case["boxes"]), bool)
    corners = case["boxes"][:, 1:].astype(np.result_type(case["input"], case["boxes"]))
    real = corners.dtype.type
    with np.errstate(all="ignore"):
        ends = corners * real(case["spatial_scale"]) - real(0.5)
        bins = (ends[:, 2:] - ends[:, :2]) / np.array(pair(case["output_size"])[::-1], corners.dtype)
        return np.isfinite(corners).all(axis=1) & (np.ceil(bins) == 0).any(axis=1)


def ps_align_model(case, got, *, order="c ph pw", aligned="on", empty=0, **flags):
    size = pair(case["output_size"])
    full = roi_align_model({**case, "aligned": True}, None, aligned=aligned, **flags)
    channels = full.shape[1] // (size[0] * size[1])
    out = np.zeros((len(full), channels, *size), full.dtype)
    for c, ph, pw in np.ndindex(channels, *size):
        out[:, c, ph, pw] = full[:, channel_of(c, ph, pw, size, channels, order), ph, pw]
    if empty != 0:
        out[without_samples(case)] = empty
    return out


TAKEN = {name: one for one in ALIGN if (name := one.name) not in ("aligned-on", "aligned-flipped", "no-least-size",
                                                                  "always-mean", "transposed")}
PS_ROI_ALIGN = combine(ps_align_model, (
    *ORDERS, trait("aligned-off", "no shift by half a map pixel", aligned="off", least=False),
    trait("aligned-off-least-size", "no shift by half a map pixel, and a RoI is at least one map pixel",
          aligned="off"),
    *(one for name, one in TAKEN.items() if name != "aligned-off"),
    trait("empty-nan", "a RoI without a height or a width, with the adaptive grid, is NaN: 0 samples over 0 "
          "(torchvision)", empty=np.nan)))


def bin_edges(low, high, bins, extent, scale, corner, plus, last):
    """First and last pixel of the bins along one axis; "continuous" is R-FCN's first code."""
    real = low.dtype.type
    scale = real(scale)
    limit = 2.0**30
    with np.errstate(all="ignore"):
        if corner == "continuous":
            start, end = CORNERS["away"](low) * scale, (CORNERS["away"](high) + real(1)) * scale
            step = max(end - start, real(0.1)) / real(bins)
            edges = [(np.floor(real(p) * step + start), np.ceil(real(p + 1) * step + start)) for p in range(bins)]
        else:
            start, end = (float(np.clip(CORNERS[corner](c * scale), -limit, limit)) for c in (low, high))
            step = real(max(end - start + plus, 1)) / real(bins)
            edges = [(np.floor(real(p) * step) + start, np.ceil(real(p + 1) * step) + start) for p in range(bins)]
    return [tuple(int(np.clip(e, 0, max(extent - last, 0))) for e in edge) for edge in edges]


def ps_pool_model(case, got, *, order="c ph pw", corner="away", plus=0, last=1, reduce="mean"):
    features, size = case["input"], pair(case["output_size"])
    batch, boxes = as_rois("ps_roi_pool", case["boxes"], len(features))
    channels = features.shape[1] // (size[0] * size[1])
    out = np.zeros((len(boxes), channels, *size), features.dtype)
    for k, (x1, y1, x2, y2) in enumerate(boxes):
        if not np.isfinite(boxes[k]).all():
            continue
        down, across = (bin_edges(*axis, case["spatial_scale"], corner, plus, last) for axis in (
            (y1, y2, size[0], features.shape[2]), (x1, x2, size[1], features.shape[3])))
        for c, ph, pw in np.ndindex(channels, *size):
            part = features[batch[k], channel_of(c, ph, pw, size, channels, order), slice(*down[ph]),
                            slice(*across[pw])]
            if part.size:
                total = part.sum(dtype=np.result_type(part, np.float32))
                out[k, c, ph, pw] = part.max() if reduce == "max" else total / total.dtype.type(part.size)
    return out


PS_ROI_POOL = combine(ps_pool_model, (
    *ORDERS, *ROUNDED,
    trait("continuous-corners", "corners are rounded before they are scaled, the last pixel is part of the box, and "
          "bins have continuous edges (R-FCN's first code)", corner="continuous", plus=None),
    trait("plus-one", "the end pixel is part of the box", plus=1),
    trait("last-row-read", "bins may reach the map's last row and column", last=0),
    trait("max", "a bin is its maximum, not its mean", reduce="max"),
))


OPS = (
    Op("ps_roi_align", reference.ps_roi_align, "bin (ph, pw) of channel c reads channel (c * PH + ph) * PW + pw; "
       "roi_align's conventions, always aligned", PS_ROI_ALIGN, 5, align_bound, arguments=ps_roi_align),
    Op("ps_roi_pool", reference.ps_roi_pool, "channels as in ps_roi_align; corners rounded half away from zero after "
       "the scale, the end pixel not included; the map's last row and column are never read (torchvision)",
       PS_ROI_POOL, 4, arguments=ps_roi_pool),
)
